"""One process a worker's name: the backend takes a second one of the same name for the first, restarted."""

import fcntl
import hashlib
import os
import socket
import time
from pathlib import Path
from typing import IO
from urllib.parse import quote

from trainer.errors import NameTaken

RETRY_SECONDS = 0.1
LONGEST_NAME = 200
"""Of a lock's file, in bytes; file systems take 255."""


def default_name(device: str, data: Path) -> str:
    """A name that stays the same over restarts, and differs by machine, device and data folder."""
    folder = hashlib.sha256(os.fsencode(data)).hexdigest()[:6]
    return f"{socket.gethostname()[:64]}-{device}-{folder}"


def lock_name(data: Path, name: str, *, wait_seconds: float) -> IO[str]:
    """Takes the worker's name in this data folder, for as long as the file that is answered stays open.

    `wait_seconds` is how long an earlier worker of this name, which may be leaving, is waited for.

    Raises:
        NameTaken: a live worker has it.
        OSError: the folder cannot be written, or its file system has no locks.
    """
    folder = data / "workers"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{_as_file(name)}.lock"
    file = path.open("a+", encoding="utf-8")
    deadline = time.monotonic() + wait_seconds
    try:
        while True:
            try:
                # the system gives it back whenever the process ends; trainings do not inherit the file
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    file.seek(0)
                    holder = file.read(100).strip() or "another process"
                    raise NameTaken(
                        f"a worker named {name!r} is running already in {data} ({holder}); "
                        "give this one another name with --name, or end that one"
                    ) from None
                time.sleep(RETRY_SECONDS)
            else:
                file.truncate(0)
                file.write(f"process {os.getpid()} on {socket.gethostname()}")
                file.flush()
                return file
    except BaseException:
        file.close()
        raise


def _as_file(name: str) -> str:
    quoted = quote(name, safe=" ")
    return quoted if len(quoted) <= LONGEST_NAME else hashlib.sha256(name.encode()).hexdigest()
