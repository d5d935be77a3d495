"""Tells open pages and waiting workers what changed.

One task of each process looks at the database about four times a second while somebody listens (and at once after a
write of this process), so that two hundred viewers cost as much as one, and several backend processes hear each other.
Durable events are resumed from their table by id; notices of new frames are coalesced and have no id.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from app.storage import alerts as alert_repository
from app.storage import events as event_repository
from app.storage.database import Database
from app.storage.tables import Event

POLL_SECONDS = 0.25
PAUSE_SECONDS = 0.05
RECENT_EVENTS = 2000
PAGE = 500
GAP_SECONDS = 2.0
"""PostgreSQL numbers events before they are committed: a number that is missing for so long was taken back."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something to tell: `id` is that of a durable event, None for notices that a resumed stream does not repeat."""

    id: int | None
    run: str
    kind: str
    data: dict[str, Any]


@dataclass(eq=False)
class Subscription:
    """One listener's place in the stream. `last` is the id up to which it has been told."""

    run: str | None
    last: int
    frames: dict[str, Notice] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    gone: bool = False
    over: bool = False
    """Its time is up."""

    def concerns(self, run: str) -> bool:
        """Whether it listens to the run."""
        return self.run is None or self.run == run

    def end(self) -> None:
        """Lets the listener go."""
        self.over = True
        self.changed.set()


@dataclass(frozen=True, kw_only=True)
class _Look:
    events: list[Notice]
    marks: dict[str, tuple[int, int]]
    open_alerts: int


class Hub:
    """Listeners of one process. Everything but `wake` and `close` belongs to the event loop's thread."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._ready = asyncio.Event()
        self._closed = False
        self._subscriptions: set[Subscription] = set()
        self._queue_watchers: set[asyncio.Event] = set()
        self._recent: deque[Notice] = deque()
        self._start = self._position = 0  # every event in (start, position] is in `recent`
        self._marks: dict[str, tuple[int, int]] = {}
        self._open_alerts = 0
        self._gaps: dict[int, float] = {}

    @property
    def listeners(self) -> int:
        """Open streams."""
        return len(self._subscriptions)

    def mark(self, run: str) -> tuple[int, int, int] | None:
        """A run's revision and step, and the open alerts of all runs, as listeners know them; None where none listens.

        Costs the database nothing. Who was told of a change and asks then finds this one, or a later one. Callable from
        any thread.
        """
        mark = self._marks.get(run) if self._ready.is_set() and not self._closed else None
        return None if mark is None else (*mark, self._open_alerts)

    def wake(self) -> None:
        """Something was written: look now. Callable from any thread."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._wake.set)

    def close(self) -> None:
        """Ends all streams and waits at once. Callable from the event loop's thread."""
        self._closed = True
        self._ready.set()
        self._wake.set()
        for subscription in self._subscriptions:
            subscription.changed.set()
        for watcher in self._queue_watchers:
            watcher.set()

    async def run(self, database: Database) -> None:
        """Looks and tells until `close`."""
        self._loop = asyncio.get_running_loop()
        failing = False
        while not self._closed:
            await self._until_due()
            if self._closed or not (self._subscriptions or self._queue_watchers):
                continue
            try:
                await self._step(database)
                failing = False
            except Exception as error:  # whatever it is, pages must go on being told once it is over
                if not failing:
                    _log.warning("cannot see what changed; live pages wait", exc_info=error)
                failing = True
                await asyncio.sleep(1.0)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _until_due(self) -> None:
        if self._subscriptions or self._queue_watchers:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), POLL_SECONDS)
        else:
            self._ready.clear()
            await self._wake.wait()
        self._wake.clear()

    async def _step(self, database: Database) -> None:
        if not self._ready.is_set():
            # nobody listened for a while: start from now, not from where the last listener left
            self._position = self._start = await asyncio.to_thread(self._settled, database)
            self._recent.clear()
            self._gaps.clear()
            self._marks = {}
        watched = {s.run for s in self._subscriptions if s.run is not None}
        everything = any(s.run is None for s in self._subscriptions)
        position = self._position
        look = await asyncio.to_thread(self._look, database, position, watched, everything)
        self._publish(look, watched)
        self._ready.set()

    def _settled(self, database: Database) -> int:
        before = None if database.is_sqlite else self._clock() - timedelta(seconds=2 * GAP_SECONDS)
        with database.read() as session:
            return event_repository.newest_id(session, settled_before=before)

    def _look(self, database: Database, position: int, watched: set[str], everything: bool) -> _Look:
        with database.read() as session:
            events = event_repository.after(session, position, limit=PAGE)
            marks = event_repository.marks(session, watched, active=everything)
            open_alerts = alert_repository.num_open(session)
        settled = list(events) if database.is_sqlite else self._before_gap(events, position)
        return _Look(events=[notice_of(event) for event in settled], marks=marks, open_alerts=open_alerts)

    def _before_gap(self, events: Sequence[Event], position: int) -> list[Event]:
        """The events up to a number that may still be committed."""
        settled: list[Event] = []
        expected = position + 1
        for event in events:
            if event.id != expected:
                since = self._gaps.setdefault(event.id, time.monotonic())
                if time.monotonic() - since < GAP_SECONDS:
                    break
            settled.append(event)
            expected = event.id + 1
        self._gaps = {number: since for number, since in self._gaps.items() if number >= expected}
        return settled

    def _publish(self, look: _Look, watched: set[str]) -> None:
        for notice in look.events:
            self._recent.append(notice)
            self._position = notice.id or self._position
        while len(self._recent) > RECENT_EVENTS:
            self._start = self._recent.popleft().id or self._start
        moved = [run for run, mark in look.marks.items() if self._marks.get(run, mark) != mark]
        for subscription in self._subscriptions:
            self._tell(subscription, look, moved, watched)
        self._marks, self._open_alerts = look.marks, look.open_alerts
        if any(notice.kind == "state" and notice.data.get("new") == "queued" for notice in look.events):
            for watcher in self._queue_watchers:
                watcher.set()
        if len(look.events) >= PAGE:
            self._wake.set()

    def _tell(self, subscription: Subscription, look: _Look, moved: list[str], watched: set[str]) -> None:
        for run in moved:
            if subscription.concerns(run):
                revision, step = look.marks[run]
                subscription.frames[run] = Notice(
                    id=None, run=run, kind="frames", data={"run": run, "step": step, "revision": revision}
                )
        subscription.gone = subscription.run in watched and subscription.run not in look.marks
        if subscription.frames or subscription.gone or any(subscription.concerns(n.run) for n in look.events):
            subscription.changed.set()

    @asynccontextmanager
    async def watching_queue(self) -> AsyncIterator[asyncio.Event]:
        """An event that is set when a run was queued after this was entered, or the service ends."""
        watcher = asyncio.Event()
        self._queue_watchers.add(watcher)
        self._wake.set()
        try:
            await self._ready.wait()
            if self._closed:
                watcher.set()
            yield watcher
        finally:
            self._queue_watchers.discard(watcher)

    @property
    def closed(self) -> bool:
        """Whether the service is ending."""
        return self._closed

    async def listen(
        self, database: Database, *, run: str | None, last: int | None, seconds: float | None = None
    ) -> AsyncGenerator[Notice, None]:
        """Notices of one run or of all, after event `last` (None: from now on), until the service or the time ends.

        A reader that falls behind the recent events reads on from the database; nothing piles up for it here.
        """
        subscription = Subscription(run, -1)
        self._subscriptions.add(subscription)
        self._wake.set()
        end = None if seconds is None else asyncio.get_running_loop().call_later(seconds, subscription.end)
        try:
            await self._ready.wait()
            subscription.last = self._position if last is None else min(last, self._position)
            while not self._closed and not subscription.over:
                for notice in await self._take(database, subscription):
                    yield notice
                if subscription.gone:
                    yield Notice(id=None, run=run or "", kind="state", data={"run": run, "new": "deleted"})
                    return
                await subscription.changed.wait()
        finally:
            if end is not None:
                end.cancel()
            self._subscriptions.discard(subscription)

    async def _take(self, database: Database, subscription: Subscription) -> list[Notice]:
        subscription.changed.clear()
        until = self._position
        if subscription.last < self._start:
            page = await asyncio.to_thread(_page, database, subscription.last, subscription.run, until)
            if len(page) == PAGE:
                until = page[-1].id or until
                subscription.changed.set()
        else:
            page = [n for n in self._recent if (n.id or 0) > subscription.last and subscription.concerns(n.run)]
        subscription.last = until
        frames, subscription.frames = subscription.frames, {}
        return [*page, *frames.values()]


def notice_of(event: Event) -> Notice:
    """What is told of a durable event."""
    shown = {**event.data, "run": event.run_id, "step": event.step, "at": event.at.isoformat()}
    return Notice(id=event.id, run=event.run_id, kind=event.kind, data=shown)


def _page(database: Database, last: int, run: str | None, until: int) -> list[Notice]:
    with database.read() as session:
        found = event_repository.after(session, last, run_id=run, until=until, limit=PAGE)
        return [notice_of(event) for event in found]
