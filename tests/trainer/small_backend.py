"""What a worker and its trainings see of a backend, over real HTTP: queue, commands, numbered messages, no database."""

import asyncio
import threading
from collections import defaultdict
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gyrostat.wire import codec
from gyrostat.wire.layout import Wire
from gyrostat.wire.messages import (
    Acknowledgement,
    Assignment,
    CheckpointReference,
    Command,
    Event,
    EventsMessage,
    Heartbeat,
    HeartbeatAnswer,
    LayoutMessage,
    Registered,
    Registration,
    RunAttempt,
)


class SmallBackend:
    """Can be stopped and started on the same port; what it was told stays, but for what `forget_workers` forgets."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.workers: dict[str, Registration] = {}
        self.registrations = 0
        self.queue: list[Assignment] = []
        self.commands: dict[int, Command] = {}
        self.abandon: list[RunAttempt] = []
        self.keep: list[CheckpointReference] = []
        self.heartbeats: list[Heartbeat] = []
        self.done: list[int] = []
        self.events: dict[str, list[tuple[int, Event]]] = defaultdict(list)
        self.losses: dict[tuple[str, int], dict[int, float]] = defaultdict(dict)
        self.duplicates = 0
        self.tighten = False
        self.token = ""
        self._next: dict[tuple[str, str], int] = defaultdict(lambda: 1)
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        routes = [
            Route("/v1/workers", self._register, methods=["POST"]),
            Route("/v1/workers/{id}:heartbeat", self._heartbeat, methods=["POST"]),
            Route("/v1/workers/{id}:claim", self._claim, methods=["POST"]),
            Route("/v1/runs/{run}/layout", self._layout, methods=["POST"]),
            Route("/v1/runs/{run}/frames", self._frames, methods=["POST"]),
            Route("/v1/runs/{run}/events", self._events, methods=["POST"]),
        ]
        config = uvicorn.Config(
            Starlette(routes=routes), host="127.0.0.1", port=self.port, log_level="error", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            self._thread.join(0.01)

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(10)
            self._server = None

    def forget_workers(self) -> None:
        self.workers.clear()

    def kinds(self, run: str, attempt: int | None = None) -> list[str]:
        return [event.kind for number, event in self.events[run] if attempt in (None, number)]

    def event(self, run: str, kind: str) -> Event:
        return next(event for _, event in self.events[run] if event.kind == kind)

    async def _register(self, request: Request) -> Response:
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            return _problem(401, "a token is needed")
        registration = Registration.model_validate_json(await request.body())
        self.registrations += 1
        worker = f"w{self.registrations}"
        self.workers = {id: known for id, known in self.workers.items() if known.name != registration.name}
        self.workers[worker] = registration
        return _answer(Registered(id=worker, heartbeat_seconds=0.2, lease_seconds=5.0))

    async def _heartbeat(self, request: Request) -> Response:
        if request.path_params["id"] not in self.workers:
            return _problem(404, "no such worker")
        heartbeat = Heartbeat.model_validate_json(await request.body())
        self.heartbeats.append(heartbeat)
        self.done += heartbeat.done
        for number in heartbeat.done:
            self.commands.pop(number, None)
        commands = list(self.commands.values())
        return _answer(HeartbeatAnswer(commands=commands, abandon=self.abandon, keep=self.keep, lease_seconds=5.0))

    async def _claim(self, request: Request) -> Response:
        deadline = asyncio.get_running_loop().time() + float(request.query_params["wait"])
        while asyncio.get_running_loop().time() < deadline:
            assert self._server is not None
            if request.path_params["id"] not in self.workers:
                return _problem(404, "no such worker")
            if self.queue:
                return _answer(self.queue.pop(0))
            if self._server.should_exit:
                break
            await asyncio.sleep(0.02)
        return Response(status_code=204)

    async def _layout(self, request: Request) -> Response:
        return self._numbered(request, LayoutMessage.model_validate_json(await request.body()))

    async def _events(self, request: Request) -> Response:
        message = EventsMessage.model_validate_json(await request.body())
        answer = self._numbered(request, message)
        if answer.status_code == 200 and b'"stored"' in bytes(answer.body):
            self.events[request.path_params["run"]] += [(message.attempt, event) for event in message.events]
        return answer

    async def _frames(self, request: Request) -> Response:
        batch = codec.decode_msgpack(await request.body())
        answer = self._numbered(request, batch)
        if b'"stored"' in bytes(answer.body):
            column = next(column for column in batch.columns if column.metric == "loss.train")
            steps = batch.steps[column.rows.astype(int)].tolist()
            taken = self.losses[request.path_params["run"], batch.attempt]
            assert not set(taken) & set(steps), "a frame arrived twice"
            taken.update(zip(steps, column.values[:, 0].tolist(), strict=True))
        return answer

    def _numbered(self, request: Request, message: Any) -> Response:
        key = (request.path_params["run"], message.producer)
        if message.sequence < self._next[key]:
            self.duplicates += 1
            return _answer(Acknowledgement(status="duplicate", sequence=message.sequence))
        assert message.sequence == self._next[key], "a message is missing"
        self._next[key] += 1
        return _answer(Acknowledgement(status="stored", sequence=message.sequence, tighten=self.tighten))


def _answer(message: Wire) -> Response:
    return Response(message.model_dump_json(), media_type="application/json")


def _problem(status: int, detail: str) -> Response:
    problem = {"type": "about:blank", "title": detail, "status": status, "detail": detail}
    return JSONResponse(problem, status_code=status, media_type="application/problem+json")
