"""Whether this installation can work: each finding says what was found and, where something is amiss, what mends it."""

import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal

import httpx

from gyrostat import __version__
from gyrostat.stream.attached import FOLDER
from gyrostat.stream.spool import Spool, SpoolInUse
from gyrostat.stream.transport import checked_server, is_loopback, problem

Verdict = Literal["ok", "warn", "fail"]

NEEDED_PYTHON = (3, 11)
LITTLE_BYTES, TOO_FEW_BYTES = 2 << 30, 200 << 20
"""Of free disk space, below which a warning and a failure are told."""
CLOCK_SECONDS = 5.0
MANY_BYTES = 256 << 20


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found of one thing; `mend` is empty where nothing is amiss."""

    what: str
    verdict: Verdict
    told: str
    mend: str = ""


def examine(*, server: str, token: str | None, data: Path) -> Iterator[Finding]:
    """Python, torch, the compiled kernels, the disk, what waits on it at `data` or is attached here, the backend."""
    yield python(sys.version_info[:3])
    yield torch()
    yield kernels()
    yield disk(data, shutil.disk_usage(_existing(data)).free)
    yield spools(data)
    if Path(FOLDER).is_dir():
        yield spools(Path(FOLDER))
    yield from backend(server, token)


def python(version: tuple[int, ...]) -> Finding:
    """Whether it is new enough."""
    told = ".".join(map(str, version))
    if version < NEEDED_PYTHON:
        needed = ".".join(map(str, NEEDED_PYTHON))
        return Finding(what="python", verdict="fail", told=told, mend=f"install Python {needed} or newer")
    return Finding(what="python", verdict="ok", told=told)


def torch() -> Finding:
    """Whether it is there and loads."""
    try:
        import torch
    except ImportError as error:
        mend = "needed to train and to attach, not by the backend: pip install torch"
        return Finding(what="torch", verdict="warn", told=f"does not load: {error}", mend=mend)
    accelerator = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no accelerator"
    threads = torch.get_num_threads()
    return Finding(what="torch", verdict="ok", told=f"{torch.__version__}, {accelerator}, {threads} CPU threads")


def kernels() -> Finding:
    """Whether the compiled kernels of the probes load; without them probes cost a few times as much."""
    try:
        from gyrostat.probes import native
    except ImportError as error:
        return Finding(what="kernels", verdict="warn", told=f"not tried: {error}", mend="install torch first")
    native.kernels.prepare(wait=True)
    if native.kernels.library is not None:
        return Finding(what="kernels", verdict="ok", told="compiled and loaded")
    mend = "probes use torch's operations instead; for less overhead install a C compiler (apt-get install gcc)"
    return Finding(what="kernels", verdict="warn", told="cannot be compiled here", mend=mend)


def disk(data: Path, free: int) -> Finding:
    """Whether there is space for measurements and checkpoints where they are written."""
    told = f"{free / (1 << 30):.1f} GiB free at {_existing(data)}"
    if free >= LITTLE_BYTES:
        return Finding(what="disk", verdict="ok", told=told)
    verdict: Verdict = "warn" if free >= TOO_FEW_BYTES else "fail"
    return Finding(what="disk", verdict=verdict, told=told, mend="free some space, or choose another --data folder")


def spools(data: Path) -> Finding:
    """What trainings measured and no backend has taken yet."""
    waiting, size, in_use = 0, 0, 0
    for path in sorted(data.rglob("producer")) if data.is_dir() else []:
        try:
            spool = Spool(path.parent)
        except SpoolInUse:
            in_use += 1
            continue
        try:
            left = spool.last_sequence - spool.settled
            waiting += left
            size += spool.size if left else 0
        finally:
            spool.close()
    told = f"{waiting} messages ({size / (1 << 20):.1f} MiB) wait in {data}"
    told += f"; {in_use} spools are in use by trainings" if in_use else ""
    if not waiting:
        return Finding(what="spool", verdict="ok", told=told)
    mend = f"a worker sends its own; send those of attached trainings by: gyrostat sync {data}"
    return Finding(what="spool", verdict="fail" if size > MANY_BYTES else "warn", told=told, mend=mend)


def backend(server: str, token: str | None) -> Iterator[Finding]:
    """Whether it answers, is of this version, can work, knows the token, and keeps the same time."""
    try:
        address = checked_server(server)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with httpx.Client(base_url=address, headers=headers, timeout=5, trust_env=not is_loopback(address)) as client:
            alive = client.get("/healthz")
            now = time.time()
            yield _version(address, alive)
            if alive.is_success:
                yield clock(alive.headers.get("date", ""), now)
                yield _database(client.get("/readyz"))
    except (httpx.HTTPError, ValueError) as error:
        mend = "start one with `make run`, or give its address by --server or GYROSTAT_SERVER"
        told = f"no answer at {server}: {error or type(error).__name__}"
        yield Finding(what="backend", verdict="fail", told=told, mend=mend)


def _version(server: str, answer: httpx.Response) -> Finding:
    document = problem(answer)
    version = document.get("version")
    if not answer.is_success or not isinstance(version, str):
        told = f"{server} answers {answer.status_code}: {document.get('detail') or 'it is no Gyrostat backend'}"
        return Finding(what="backend", verdict="fail", told=told, mend="check the address, and GYROSTAT_HOSTS there")
    if version != __version__:
        told = f"{server} has version {version}, this is {__version__}"
        return Finding(what="backend", verdict="warn", told=told, mend="install the same version on both sides")
    return Finding(what="backend", verdict="ok", told=f"{server}, version {version}")


def clock(date: str, now: float) -> Finding:
    """Whether this machine and the backend, whose answer has this date, have about the same time."""
    try:
        off = now - parsedate_to_datetime(date).timestamp()
    except ValueError:
        return Finding(what="clock", verdict="warn", told="the backend does not tell its time", mend="check the proxy")
    if abs(off - 0.5) < CLOCK_SECONDS:  # the date is cut to whole seconds
        return Finding(what="clock", verdict="ok", told="the same as the backend's")
    told = f"{abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} the backend's"
    mend = "set both by NTP: leases go by the backend's alone, but steps show the time of the training's machine"
    return Finding(what="clock", verdict="warn", told=told, mend=mend)


def _database(answer: httpx.Response) -> Finding:
    document = problem(answer)
    if answer.is_success:
        return Finding(what="database", verdict="ok", told=f"answers, and is at revision {document.get('revision')}")
    told = str(document.get("detail") or f"/readyz answers {answer.status_code}")
    if answer.status_code in (401, 403, 429):
        mend = "give a token with the scope read by --token or GYROSTAT_TOKEN"
        return Finding(what="token", verdict="fail", told=told, mend=mend)
    return Finding(what="database", verdict="fail", told=told, mend="see the backend's log, and docs/operations.md")


def _existing(path: Path) -> Path:
    found = path.absolute()
    while not found.exists():
        found = found.parent
    return found


def table(findings: list[Finding]) -> str:
    """A line for each, and one more for what mends it."""
    lines = []
    for found in findings:
        lines.append(f"{found.verdict:<5} {found.what:<9} {found.told}")
        if found.mend:
            lines.append(f"{'':<15} -> {found.mend}")
    return "\n".join(lines)
