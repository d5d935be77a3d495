"""What the tests of the control path share: times, specs, runs in a given state, a worker, a real server."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from app.__main__ import Server, make_server
from app.services import lifecycle, runs, workers
from app.services.run_requests import RunRequest
from app.services.run_view import RunView
from app.settings import AppSettings
from app.storage import runs as run_repository
from app.storage.database import Database, Session
from app.storage.tables import Run
from gyrostat.wire.messages import Assignment, Event, Registration

START = datetime(2026, 3, 14, 9, 0, tzinfo=UTC)
SETTINGS = AppSettings(heartbeat_seconds=2, unreachable_seconds=8, lease_seconds=20, max_attempts=3)


def at(seconds: float) -> datetime:
    """That long after the test's beginning."""
    return START + timedelta(seconds=seconds)


def start(database: Database, *, now: datetime = START, **request: Any) -> RunView:
    """A new run; of the preset digits-mlp where nothing else is said."""
    body = RunRequest(**({"preset": "digits-mlp"} | request if "spec" not in request else request))
    return database.write(lambda session: runs.start(session, body, now))


def register(database: Database, name: str = "desk", *, now: datetime = START, **other: Any) -> str:
    """A worker's id."""
    registration = Registration(
        **{"name": name, "host": "here", "pid": 100, "device": "cpu", "datasets": ["digits"], "version": "1", **other}
    )
    return database.write(lambda session: workers.register(session, registration, SETTINGS, now)).id


def claim(database: Database, worker: str, *, now: datetime = START) -> Assignment | None:
    """What the worker gets to train."""
    return database.write(lambda session: workers.claim(session, worker, SETTINGS, now))


def report(
    database: Database, run: str, attempt: int, kind: str, *, step: int = 0, now: datetime = START, **data: Any
) -> None:
    """An event of the training process."""
    event = Event.model_validate({"kind": kind, "at": 1.7e9, "step": step, "data": data})

    def apply(session: Session) -> None:
        row = run_repository.locked(session, run)
        assert row is not None
        lifecycle.apply_event(session, row, attempt, event, now)

    database.write(apply)


def get(database: Database, run: str) -> RunView:
    """The run as it is shown."""
    with database.read() as session:
        return runs.get(session, run)


def put_into(session: Session, run_id: str, state: str) -> Run:
    """The run, with its state set by hand: for tests of what follows, not of how it came."""
    run = run_repository.locked(session, run_id)
    assert run is not None
    run.state = state
    session.flush()
    return run


@contextmanager
def served(data: Path, **settings: Any) -> Iterator[tuple[Server, str]]:
    """A real server on a free port of loopback, and its address."""
    server = make_server(AppSettings(data=data, port=0, **settings))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started and thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.started, "the server did not start"
        port = server.servers[0].sockets[0].getsockname()[1]
        yield server, f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive(), "the server did not end"
