"""A small backend with the real routes, in a process of its own that can be killed and started again.

Everything it acknowledges is in SQLite first. `POST /_answers` tells it what to answer to the next ingest requests.
"""

import contextlib
import json
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI, Request, Response

from gyrostat.wire import codec
from gyrostat.wire.frame import Batch
from gyrostat.wire.layout import Layout
from gyrostat.wire.messages import Acknowledgement, EventsMessage, LayoutMessage

ROOT = Path(__file__).parents[2]
PROBLEM = "urn:gyrostat:problem:told-so"


class Store:
    """Messages as they came, each number of a producer once."""

    def __init__(self, path: Path, run: str = "run") -> None:
        self.path, self.run = path, run
        with self._connected() as connection:
            connection.execute(
                "create table if not exists messages (position integer primary key, run, producer, sequence, kind,"
                " body, unique (run, producer, sequence))"
            )
            connection.execute("create table if not exists requests (position integer primary key, run, sequence)")

    def of(self, run: str) -> "Store":
        return Store(self.path, run)

    def note(self, run: str, sequence: int) -> None:
        with self._connected() as connection:
            connection.execute("insert into requests (run, sequence) values (?, ?)", (run, sequence))

    def add(self, run: str, producer: str, sequence: int, kind: str, body: bytes) -> bool:
        with self._connected() as connection:
            done = connection.execute(
                "insert or ignore into messages (run, producer, sequence, kind, body) values (?, ?, ?, ?, ?)",
                (run, producer, sequence, kind, body),
            )
            return done.rowcount == 1

    def missing(self, run: str, producer: str, sequence: int) -> list[tuple[int, int]]:
        query = "select sequence from messages where run = ? and producer = ? and sequence < ? order by sequence"
        ranges, expected = [], 1
        with self._connected() as connection:
            for (found,) in connection.execute(query, (run, producer, sequence)):
                if found > expected:
                    ranges.append((expected, found - 1))
                expected = found + 1
        return [*ranges, (expected, sequence - 1)] if expected < sequence else ranges

    def messages(self, kind: str | None = None) -> list[tuple[int, str, bytes]]:
        """(sequence, kind, body) in the order in which they were stored."""
        query = "select sequence, kind, body from messages where run = ? order by position"
        with self._connected() as connection:
            return [row for row in connection.execute(query, (self.run,)) if kind in (None, row[1])]

    def producers(self) -> set[str]:
        with self._connected() as connection:
            return {row[0] for row in connection.execute("select producer from messages where run = ?", (self.run,))}

    def requests(self) -> Counter[int]:
        with self._connected() as connection:
            return Counter(
                row[0] for row in connection.execute("select sequence from requests where run = ?", (self.run,))
            )

    def batches(self) -> list[Batch]:
        return [codec.decode_msgpack(body) for _, _, body in self.messages("frames")]

    def steps(self) -> list[int]:
        return [int(step) for batch in self.batches() for step in batch.steps]

    def layouts(self) -> list[Layout]:
        return [LayoutMessage.model_validate_json(body).layout for _, _, body in self.messages("layout")]

    def events(self) -> list[Any]:
        found = [EventsMessage.model_validate_json(body) for _, _, body in self.messages("events")]
        return [event for message in found for event in message.events]

    @contextlib.contextmanager
    def _connected(self) -> Any:
        connection = sqlite3.connect(self.path, timeout=20)
        try:
            with connection:
                yield connection
        finally:
            connection.close()


def create_app(path: Path) -> FastAPI:
    app, store = FastAPI(), Store(path)
    answers: list[dict[str, Any]] = []

    def forced(run: str, message: Any) -> Response | None:
        store.note(run, message.sequence)
        if not answers:
            return None
        answer = answers.pop(0)
        return Response(
            answer.get(
                "body", json.dumps({"detail": answer.get("detail", "told so"), "type": answer.get("type", PROBLEM)})
            ),
            status_code=answer["status"],
            media_type=answer.get("media_type", "application/problem+json"),
            headers=answer.get("headers"),
        )

    def stored(run: str, kind: str, message: Any, body: bytes, counts: tuple[int, int] = (0, 0)) -> Response:
        if (answer := forced(run, message)) is not None:
            return answer
        new = store.add(run, message.producer, message.sequence, kind, body)
        acknowledgement = Acknowledgement(
            status="stored" if new else "duplicate",
            sequence=message.sequence,
            frames=counts[0],
            points=counts[1],
            missing=store.missing(run, message.producer, message.sequence),
            tighten=kind == "frames",
        )
        return Response(acknowledgement.model_dump_json(), media_type="application/json")

    @app.post("/_answers")
    async def tell(request: Request) -> None:
        answers[:] = await request.json()

    @app.post("/v1/runs/{run}/layout")
    async def layout(run: str, request: Request) -> Response:
        body = await request.body()
        return stored(run, "layout", LayoutMessage.model_validate_json(body), body)

    @app.post("/v1/runs/{run}/frames")
    async def frames(run: str, request: Request) -> Response:
        assert request.headers["Content-Type"] == codec.MSGPACK
        body = await request.body()
        assert len(body) < 8 << 20
        batch = codec.decode_msgpack(body)
        return stored(run, "frames", batch, body, (len(batch.steps), batch.num_points))

    @app.post("/v1/runs/{run}/events")
    async def events(run: str, request: Request) -> Response:
        body = await request.body()
        return stored(run, "events", EventsMessage.model_validate_json(body), body)

    return app


class Backend:
    """The process; `port` stays the same over restarts."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.path = folder / "backend.sqlite"
        self.store = Store(self.path)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.gyrostat.backend", str(self.port), str(self.path)], cwd=ROOT
        )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                httpx.get(f"{self.url}/docs", timeout=5, trust_env=False)
                return
            time.sleep(0.05)
        raise AssertionError("the test backend does not start")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def answers(self, *told: dict[str, Any]) -> None:
        """What to answer to the next ingest requests; an empty call ends it."""
        httpx.post(f"{self.url}/_answers", json=list(told), timeout=5, trust_env=False).raise_for_status()


if __name__ == "__main__":
    uvicorn.run(create_app(Path(sys.argv[2])), host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
