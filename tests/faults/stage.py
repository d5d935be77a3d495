"""The world of one schedule: a database, backends, a bad network, producers; every one a process of its own."""

import contextlib
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psycopg

from gyrostat.stream.attached import FILE, Attached
from tests.databases import TEMPLATE, PostgresServer, database_on, on_server
from tests.end_to_end.service import Service, eventually
from tests.faults import disks, journal
from tests.faults.producer import Plan
from tests.faults.proxy import Proxy
from tests.faults.schedule import Producing, Schedule
from tests.faults.stored import Reader

ROOT = Path(__file__).resolve().parents[2]
WITHIN = 240.0
"""Seconds until something is given up as hanging; on a loaded machine everything takes its time."""
SMALL_SPOOL, AMPLE_SPOOL = 8 << 10, 1 << 30


class Actor:
    """One producer through all its lives."""

    def __init__(self, folder: Path, number: int, producing: Producing, server: str, disk: Path | None) -> None:
        self.number, self.producing, self.disk = number, producing, disk
        self.home = folder
        self.spool = (disk or folder) / f"run-{number}"
        self.lives: list[Path] = []
        self.killed = 0
        self._newest = self._read_to = 0
        self._server = server
        self._process: subprocess.Popen[bytes] | None = None
        self.name = f"producer {number} of a schedule"
        Attached.made(self.spool, {"attached": True, "name": self.name}, server=server)

    @property
    def run(self) -> str | None:
        """Its run, where it has noted that; a full disk keeps it from doing so."""
        return Attached.read(self.spool).run if (self.spool / FILE).exists() else None

    def start(self, seed: int) -> None:
        made = self.producing
        plan = Plan(
            folder=str(self.spool),
            journal=str(self.home / f"journal-{self.number}-{len(self.lives)}"),
            server=self._server,
            seed=1000 * seed + self.number,
            first=1 + self.emitted(),
            last=made.steps,
            burst=made.burst,
            pause=3.0 * made.burst / made.steps,
            width=made.width,
            relayout=made.relayout,
            flood=made.flood,
            clock=list(made.clock),
            shuffled=made.shuffled,
            limit_bytes=SMALL_SPOOL if made.spool == "small" else AMPLE_SPOOL,
            flush_seconds=made.flush_seconds,
            timeout=3.0,
        )
        path = self.home / f"plan-{self.number}-{len(self.lives)}.json"
        path.write_bytes(msgspec.json.encode(plan))
        self.lives.append(Path(plan.journal))
        self._read_to = 0
        with (self.home / f"producer-{self.number}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.producer", str(path)], cwd=ROOT, stdout=log, stderr=log
            )

    @property
    def lives_on(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def emitted(self) -> int:
        """The newest step that it has written down."""
        for path in self.lives[-1:]:
            entries, self._read_to = journal.read_from(path, self._read_to)
            steps = [entry.step for entry in entries if isinstance(entry, journal.Emitted)]
            self._newest = max([self._newest, *steps])
        return self._newest

    def kill(self) -> bool:
        """Ends it at once; whether it was still there."""
        assert self._process is not None
        was_there = self._process.poll() is None
        self._process.kill()
        self._process.wait()
        self.killed += was_there
        return was_there

    def wait(self) -> str | None:
        """Until it ends; what is wrong with how it did."""
        assert self._process is not None
        try:
            status = self._process.wait(WITHIN)
        except subprocess.TimeoutExpired:
            self.kill()
            return f"producer {self.number} did not end within {WITHIN:g} s"
        return f"producer {self.number} ended with status {status}" if status else None

    def entries(self) -> list[list[journal.Entry]]:
        return [journal.read(path) for path in self.lives]


class Stage:
    """Everything that a schedule needs, up and running; `postgres` is its own while it lasts."""

    def __init__(self, schedule: Schedule, folder: Path, postgres: PostgresServer | None) -> None:
        self.schedule, self.folder, self.postgres = schedule, folder, postgres
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.disk: Path | None = None
        self._cleanup = contextlib.ExitStack()
        self._can_mount = disks.can_mount()

    def __enter__(self) -> "Stage":
        with contextlib.ExitStack() as built:
            self.url = built.enter_context(self._database())
            self.services = [self._service(number, built) for number in range(self.schedule.backends)]
            self.proxy = Proxy([service.port for service in self.services], self.schedule.seed)
            built.callback(self.proxy.close)
            self.actors = [self._actor(number, made, built) for number, made in enumerate(self.schedule.producers)]
            self._cleanup = built.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._cleanup.close()

    def reader(self) -> Reader:
        return Reader(self.url)

    def restart(self, service: Service) -> None:
        """Starts a backend that has ended and waits until it answers."""
        began = time.monotonic()
        service.start_backend(within=WITHIN)
        self.counts["backend_starts"] += 1
        self.counts["backend_start_milliseconds"] += round(1000 * (time.monotonic() - began))

    def terminate_connections(self) -> int:
        assert self.postgres is not None
        name = self.url.rsplit("/", 1)[1]
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            ended = connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name]
            ).fetchall()
        return len(ended)

    def wait_for_progress(self, fraction: float) -> None:
        """Until the producers have emitted this part of all their frames, or have ended."""
        wanted = fraction * sum(actor.producing.steps for actor in self.actors)
        deadline = time.monotonic() + WITHIN
        while sum(actor.emitted() for actor in self.actors) < wanted and any(actor.lives_on for actor in self.actors):
            if time.monotonic() > deadline:
                self.wrong.append(f"the producers did not emit {wanted:.0f} frames within {WITHIN:g} s")
                return
            time.sleep(0.05)

    def heal(self) -> None:
        """No more faults: everything works again, and whoever ends has ended by itself."""
        if self.disk is not None:
            disks.free(self.disk)
        for actor in self.actors:
            if actor.disk is not None:
                disks.free(actor.disk)
        for service in self.services:
            assert service.backend is not None
            if service.backend.poll() is not None:
                self.wrong.append(f"a backend ended by itself with status {service.backend.poll()}")
                self.restart(service)
            eventually(service.is_ready, within=WITHIN)
        self.proxy.clear()
        self.wrong += [found for actor in self.actors if (found := actor.wait())]
        self.proxy.clear()

    def drain(self) -> None:
        """`gyrostat sync`, until nothing is left in any spool."""
        for actor in self.actors:
            command = [sys.executable, "-m", "gyrostat", "sync", str(actor.spool), "--server", self.services[0].url]
            for _ in range(5):
                done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=WITHIN)
                if not done.returncode:
                    break
            else:
                self.wrong.append(
                    f"gyrostat sync of producer {actor.number}: {done.stdout[-500:]} {done.stderr[-1000:]}"
                )

    def _service(self, number: int, built: contextlib.ExitStack) -> Service:
        data = self.disk if self.disk and self.postgres is None else self.folder / f"backend-{number}"
        service = Service(data, "" if self.postgres is None else self.url, GYROSTAT_LOG_FORMAT="text")
        if "clock_stepped" in self.schedule.kinds:
            service.program = ("tests.faults.clocked",)
        built.callback(service.close)
        self.restart(service)
        return service

    def _actor(self, number: int, made: Producing, built: contextlib.ExitStack) -> Actor:
        disk = None
        if made.spool == "full_disk" and self._can_mount:
            disk = built.enter_context(disks.small_disk(self.folder / f"disk-{number}", "2m"))
        actor = Actor(self.folder, number, made, self.proxy.url, disk)
        built.callback(lambda: actor.kill() if actor.lives else None)
        return actor

    @contextlib.contextmanager
    def _database(self) -> Iterator[str]:
        wants_disk = "database_full" in self.schedule.kinds and self._can_mount
        with contextlib.ExitStack() as stack:
            if self.postgres is None:
                if wants_disk:
                    self.disk = stack.enter_context(disks.small_disk(self.folder / "small", "64m"))
                yield f"sqlite:///{(self.disk or self.folder / 'backend-0') / 'gyrostat.sqlite'}"
            elif wants_disk:
                self.disk = stack.enter_context(disks.small_disk(self.postgres.folder / "small", "64m"))
                yield stack.enter_context(_on_small_disk(self.postgres, self.disk))
            else:
                yield stack.enter_context(database_on(self.postgres.url))


@contextlib.contextmanager
def _on_small_disk(postgres: PostgresServer, disk: Path) -> Iterator[str]:
    """URL of a database whose tables are on `disk`; the server's log of changes is not, so that it lives on."""
    space, database = disk / "space", "small"
    space.mkdir()
    owner = postgres.folder.stat()
    os.chown(space, owner.st_uid, owner.st_gid)
    _run(postgres, f"CREATE TABLESPACE small LOCATION '{space}'")
    _run(postgres, f"CREATE DATABASE {database} TEMPLATE {TEMPLATE} TABLESPACE small")
    try:
        yield on_server(postgres.url, database)
    finally:
        _run(postgres, f"DROP DATABASE {database} WITH (FORCE)")
        _run(postgres, "DROP TABLESPACE small")


def _run(postgres: PostgresServer, statement: str) -> None:
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(statement.encode())
