"""The queue between the training thread and the encoding thread: bounded, and never in the way of training."""

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from gyrostat.stream.ledger import Count
from gyrostat.wire.layout import Layout
from gyrostat.wire.messages import EventKind
from gyrostat.wire.pending import PendingFrame

MAX_FRAMES = 2048
MAX_POINTS = 16 << 20
"""64 MiB of values."""


@dataclass(frozen=True, eq=False)
class Happening:
    """An event as the training process told it, not yet made fit for JSON."""

    kind: EventKind
    at: float
    step: int
    data: dict[str, Any]


@dataclass(eq=False)
class Flush:
    """Asks that everything before it goes to the spool; `done` is set then, with the spool's number in `sequence`."""

    done: threading.Event = field(default_factory=threading.Event)
    sequence: int | None = None


Item = PendingFrame | Layout | Happening | Flush


class Inbox:
    """Takes frames while there is room, and layouts, events and flushes always."""

    def __init__(self) -> None:
        self._filled = threading.Condition(threading.Lock())
        self._items: deque[tuple[Item, Count]] = deque()
        self._held = Count()
        self._closed = False

    def put(self, item: Item, count: Count = Count()) -> str | None:
        """Queues `item`, or tells why not: `queue_full` or `closed`."""
        with self._filled:
            if self._closed:
                return "closed"
            if count.frames and self._held.frames and self._is_full(count):
                return "queue_full"
            self._items.append((item, count))
            self._held += count
            self._filled.notify()
        return None

    def take(self, timeout: float | None) -> Item | None:
        """The oldest item; None when none came within `timeout` seconds, or when closed and empty."""
        with self._filled:
            self._filled.wait_for(lambda: self._items or self._closed, timeout)
            if not self._items:
                return None
            item, count = self._items.popleft()
            self._held -= count
            return item

    def take_happenings(self, limit: int) -> list[Happening]:
        """The events that are next, without a wait."""
        taken: list[Happening] = []
        with self._filled:
            while self._items and len(taken) < limit and isinstance(item := self._items[0][0], Happening):
                taken.append(item)
                self._items.popleft()
        return taken

    def close(self) -> None:
        """Nothing more comes in; what is there can still be taken."""
        with self._filled:
            self._closed = True
            self._filled.notify_all()

    @property
    def is_drained(self) -> bool:
        """Closed, and empty."""
        with self._filled:
            return self._closed and not self._items

    def _is_full(self, count: Count) -> bool:
        return self._held.frames >= MAX_FRAMES or self._held.points + count.points > MAX_POINTS
