"""Live events: told once, in order, resumed without a gap, at the price of one look for all listeners."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

import pytest

from app.services import alerting, events, runs
from app.services.events import Hub, Notice
from app.storage import events as event_repository
from app.storage import runs as run_repository
from app.storage.database import Database, Session
from tests.app.control import at, claim, register, report, start


def with_hub(database: Database, scene: Callable[[Hub], Awaitable[None]]) -> None:
    """Plays a scene beside a running hub."""

    async def play() -> None:
        hub = Hub(lambda: at(0))
        watching = asyncio.create_task(hub.run(database))
        await asyncio.sleep(0)
        try:
            await asyncio.wait_for(scene(hub), 30)
        finally:
            hub.close()
            await watching

    asyncio.run(play())


async def some(stream: AsyncGenerator[Notice, None], number: int) -> list[Notice]:
    got = []
    async with aclosing(stream):
        async for notice in stream:
            got.append(notice)
            if len(got) == number:
                break
    return got


def log(database: Database, run: str, *texts: str) -> None:
    def write(session: Session) -> None:
        for text in texts:
            event_repository.append(session, run, "log", {"text": text}, step=1, now=at(1))

    database.write(write)


def texts(notices: list[Notice]) -> list[str]:
    return [notice.data["text"] for notice in notices]


def test_a_listener_hears_what_happens_after_it_came(database: Database) -> None:
    run, other = start(database).id, start(database).id

    async def scene(hub: Hub) -> None:
        stream = hub.listen(database, run=run, last=None)
        first = asyncio.ensure_future(some(stream, 2))
        await asyncio.sleep(0.3)
        await asyncio.to_thread(log, database, other, "elsewhere")
        await asyncio.to_thread(log, database, run, "one", "two")
        got = await first
        assert texts(got) == ["one", "two"]
        assert got[0].id is not None
        assert got[1].id == got[0].id + 1
        assert got[0].data["run"] == run

    with_hub(database, scene)


def test_a_resumed_stream_begins_after_the_last_event_it_told(database: Database) -> None:
    run = start(database).id
    log(database, run, *map(str, range(10)))
    with database.read() as session:
        last = event_repository.newest_id(session)

    async def scene(hub: Hub) -> None:
        assert texts(await some(hub.listen(database, run=run, last=last - 3), 3)) == ["7", "8", "9"]
        everything = await some(hub.listen(database, run=None, last=0), 11)
        assert [notice.kind for notice in everything] == ["state"] + ["log"] * 10
        assert hub.listeners == 0

    with_hub(database, scene)


def test_a_reader_that_fell_far_behind_reads_on_from_the_database(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "RECENT_EVENTS", 5)
    monkeypatch.setattr(events, "PAGE", 7)
    run = start(sqlite_database).id

    async def scene(hub: Hub) -> None:
        slow = hub.listen(sqlite_database, run=run, last=0)
        got = await some(slow, 1)
        await asyncio.to_thread(log, sqlite_database, run, *map(str, range(50)))
        hub.wake()
        await asyncio.sleep(0.8)
        got = await some(hub.listen(sqlite_database, run=run, last=got[0].id), 50)
        assert texts(got) == [str(number) for number in range(50)]

    with_hub(sqlite_database, scene)


def test_new_measurements_are_told_without_an_id_and_coalesced(sqlite_database: Database) -> None:
    run = start(sqlite_database).id
    claim(sqlite_database, register(sqlite_database))
    report(sqlite_database, run, 1, "started")

    def measure(step: int) -> None:
        def write(session: Session) -> None:
            row = run_repository.locked(session, run)
            assert row is not None
            row.step, row.revision = step, row.revision + 1

        sqlite_database.write(write)

    async def scene(hub: Hub) -> None:
        for watched in (run, None):
            stream = hub.listen(sqlite_database, run=watched, last=None)
            first = asyncio.ensure_future(some(stream, 1))
            await asyncio.sleep(0.4)
            for step in (10, 20, 30):
                await asyncio.to_thread(measure, step)
            hub.wake()
            (notice,) = await first
            assert (notice.id, notice.kind, notice.data["step"] % 10) == (None, "frames", 0)
            assert set(notice.data) == {"run", "step", "revision"}

    with_hub(sqlite_database, scene)


def test_an_alert_that_opened_while_nobody_listened_is_in_the_mark(sqlite_database: Database) -> None:
    watched, other = start(sqlite_database).id, start(sqlite_database).id

    def open_alert(session: Session) -> None:
        run = run_repository.locked(session, other)
        assert run is not None
        alerting.raise_external(session, run, "worker_lost", "It fell silent.", None, at(1))

    async def scene(hub: Hub) -> None:
        marks = []
        for _ in range(2):
            listening = asyncio.ensure_future(some(hub.listen(sqlite_database, run=watched, last=None), 1))
            while (mark := hub.mark(watched)) is None:
                await asyncio.sleep(0.02)
            marks.append(mark)
            listening.cancel()
            while hub.mark(watched) is not None:
                await asyncio.sleep(0.02)
            if len(marks) == 1:
                await asyncio.to_thread(sqlite_database.write, open_alert)
        assert marks[0][:2] == marks[1][:2]
        assert [mark[2] for mark in marks] == [0, 1]

    with_hub(sqlite_database, scene)


def test_the_stream_of_a_deleted_run_says_so_and_ends(sqlite_database: Database) -> None:
    run = start(sqlite_database).id

    async def scene(hub: Hub) -> None:
        first = asyncio.ensure_future(some(hub.listen(sqlite_database, run=run, last=None), 99))
        await asyncio.sleep(0.3)
        await asyncio.to_thread(sqlite_database.write, lambda session: runs.delete(session, run))
        hub.wake()
        assert [notice.data["new"] for notice in await first] == ["deleted"]

    with_hub(sqlite_database, scene)


def test_events_after_a_deleted_newest_run_are_still_heard(sqlite_database: Database) -> None:
    kept = start(sqlite_database).id

    async def scene(hub: Hub) -> None:
        heard = asyncio.ensure_future(some(hub.listen(sqlite_database, run=kept, last=None), 1))
        await asyncio.sleep(0.3)
        newest = await asyncio.to_thread(start, sqlite_database)
        hub.wake()
        await asyncio.sleep(0.3)
        await asyncio.to_thread(sqlite_database.write, lambda session: runs.delete(session, newest.id))
        await asyncio.to_thread(log, sqlite_database, kept, "still here")
        assert texts(await heard) == ["still here"]

    with_hub(sqlite_database, scene)


def test_two_hundred_listeners_cost_the_database_as_much_as_one(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(sqlite_database).id
    looks = 0
    reading = sqlite_database.read

    def counted():  # type: ignore[no-untyped-def]
        nonlocal looks
        looks += 1
        return reading()

    monkeypatch.setattr(sqlite_database, "read", counted)

    async def scene(hub: Hub) -> None:
        streams = [asyncio.ensure_future(some(hub.listen(sqlite_database, run=run, last=None), 1)) for _ in range(200)]
        await asyncio.sleep(1.0)
        assert hub.listeners == 200
        assert looks <= 12
        await asyncio.to_thread(log, sqlite_database, run, "to all")
        hub.wake()
        got = await asyncio.gather(*streams)
        assert {notice.data["text"] for (notice,) in got} == {"to all"}

    with_hub(sqlite_database, scene)


def test_without_listeners_nobody_looks(sqlite_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(hub: Hub) -> None:
        monkeypatch.setattr(sqlite_database, "read", None)  # looking would fail
        hub.wake()
        await asyncio.sleep(0.6)

    with_hub(sqlite_database, scene)


def test_a_queued_run_wakes_those_who_wait_for_one(database: Database) -> None:
    async def scene(hub: Hub) -> None:
        async with hub.watching_queue() as queued:
            assert not queued.is_set()
            # from outside, as another process would
            threading.Thread(target=start, args=(database,)).start()
            await asyncio.wait_for(queued.wait(), 5)

    with_hub(database, scene)


def test_closing_ends_streams_and_waits_at_once(sqlite_database: Database) -> None:
    run = start(sqlite_database).id

    async def scene(hub: Hub) -> None:
        stream = asyncio.ensure_future(some(hub.listen(sqlite_database, run=run, last=None), 1))
        await asyncio.sleep(0.3)
        hub.close()
        assert await asyncio.wait_for(stream, 1) == []
        async with hub.watching_queue() as queued:
            assert queued.is_set()

    with_hub(sqlite_database, scene)


@pytest.mark.postgresql
def test_an_event_committed_after_a_later_one_is_told_in_its_place(database: Database) -> None:
    if database.is_sqlite:
        return  # one writer: numbers are committed in order
    run = start(database).id
    begun, release = threading.Event(), threading.Event()

    def slow(session: Session) -> None:
        event_repository.append(session, run, "log", {"text": "first"}, step=1, now=at(1))
        session.flush()
        begun.set()
        release.wait(10)

    async def scene(hub: Hub) -> None:
        stream = asyncio.ensure_future(some(hub.listen(database, run=run, last=1), 2))
        await asyncio.sleep(0.3)
        late = threading.Thread(target=database.write, args=(slow,))
        late.start()
        await asyncio.to_thread(begun.wait)
        await asyncio.to_thread(log, database, run, "second")
        await asyncio.sleep(0.6)
        release.set()
        assert texts(await stream) == ["first", "second"]
        late.join()

    with_hub(database, scene)
