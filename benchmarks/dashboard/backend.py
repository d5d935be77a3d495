"""This project's backend in a process of its own that counts the statements which it sends to its database."""

import multiprocessing
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import httpx
import psutil
from sqlalchemy import Engine, event

from app.__main__ import make_server
from app.settings import AppSettings
from benchmarks.ingest.ours import settled

READY_SECONDS = 60


@dataclass(frozen=True)
class Backend:
    """Where it is, and what it has done so far."""

    url: str
    http: httpx.Client
    process: psutil.Process
    counted: "Synchronized[int]"

    @property
    def statements(self) -> int:
        """Sent to the database."""
        return self.counted.value

    @property
    def cpu_seconds(self) -> float:
        """Of the processors."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def settle(self) -> None:
        """Waits until nothing is left to merge."""
        settled(lambda: self.cpu_seconds)


@contextmanager
def serving(folder: Path) -> Iterator[Backend]:
    """A backend on an SQLite file in the folder, until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    context = multiprocessing.get_context("spawn")
    counted = context.Value("q", 0)
    child = context.Process(target=_serve, args=(folder, port, counted), daemon=True)
    child.start()
    url = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(base_url=url, timeout=120, trust_env=False) as http:
            _wait_until_ready(http, child)
            yield Backend(url, http, psutil.Process(child.pid), counted)
    finally:
        child.terminate()
        child.join(30)


def _serve(folder: Path, port: int, counted: "Synchronized[int]") -> None:
    @event.listens_for(Engine, "before_cursor_execute")
    def count(*_: object) -> None:
        with counted.get_lock():
            counted.value += 1

    make_server(AppSettings(data=folder, port=port)).run()


def _wait_until_ready(http: httpx.Client, child: multiprocessing.Process) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and child.is_alive():
        try:
            if http.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"the backend was not ready within {READY_SECONDS} s")
