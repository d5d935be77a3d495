"""However many people watch a run, its database is asked as for one."""

import asyncio
import threading
from collections.abc import Iterator, Sequence

import httpx
import pytest
from sqlalchemy import Engine, event

from app.__main__ import Server
from app.storage.database import Database
from tests.app.control import served
from tests.app.measured import SCALAR, VECTOR, Sender, start

REQUESTS = "AnyIO worker thread"
"""What the threads are called that answer requests; the hub looks from others."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str, Sender]]:
    """A server, its address, and a run on it."""
    data = tmp_path_factory.mktemp("viewers")
    with served(data) as (server, address):
        database = Database(f"sqlite:///{data / 'gyrostat.sqlite'}")
        sender = start(database)
        sender.frames(range(1, 50), {VECTOR: [[1, 2, 3]] * 49, SCALAR: [0.5] * 49})
        yield server, address, sender
        database.close()


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """Those that requests have sent to a database so far."""
    sent: list[str] = []

    def heard(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if threading.current_thread().name.startswith(REQUESTS):
            sent.append(statement)

    event.listen(Engine, "before_cursor_execute", heard)
    yield sent
    event.remove(Engine, "before_cursor_execute", heard)


async def watch(
    service: tuple[Server, str, Sender], viewers: int, step: int, statements: list[str]
) -> list[Sequence[bytes]]:
    """What so many viewers fetch when they are told of a frame, each what a page does; `statements` begins with it."""
    server, address, sender = service
    hub, run = server.app.state.hub, sender.run_id
    paths = [f"/fragments/runs/{run}", f"/runs/{run}/panels?panel=metric.{VECTOR}&panel=metric.{SCALAR}"]
    limits = httpx.Limits(max_connections=None)

    async def view(http: httpx.AsyncClient) -> Sequence[bytes]:
        async with http.stream("GET", f"/v1/runs/{run}/events") as events:
            async for line in events.aiter_lines():
                if line.startswith("data:") and f'"step": {step}' in line:
                    return [(await http.get(path)).raise_for_status().content for path in paths]
        raise AssertionError("the stream ended")

    async with httpx.AsyncClient(base_url=address, timeout=30, limits=limits) as http:
        watching = [asyncio.create_task(view(http)) for _ in range(viewers)]
        while hub.listeners < viewers or hub.mark(run) is None:
            await asyncio.sleep(0.02)
        statements.clear()
        await asyncio.to_thread(sender.frames, [step], {VECTOR: [[4, 5, 6]], SCALAR: [step]})
        seen = await asyncio.gather(*watching)
    while hub.listeners:
        await asyncio.sleep(0.02)
    return seen


def test_sixty_viewers_ask_the_database_what_one_asks(
    service: tuple[Server, str, Sender], statements: list[str]
) -> None:
    asyncio.run(watch(service, 1, 50, statements))  # from here on, layouts and older blocks are at hand
    counts = []
    for step, viewers in ((51, 1), (52, 60)):
        seen = asyncio.run(watch(service, viewers, step, statements))
        counts.append(len(statements))
        assert len({tuple(each) for each in seen}) == 1
        assert f"at step {step}".encode() in seen[0][1]
    assert counts[0] == counts[1] > 0
