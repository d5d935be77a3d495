"""Where every frame of a stream went: counts that always add up."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_REASONS = 32
"""Different reasons counted apart; a server that words each refusal anew must not fill the memory."""


@dataclass(frozen=True)
class Count:
    """Frames, and the points in them."""

    frames: int = 0
    points: int = 0

    def __add__(self, other: "Count") -> "Count":
        return Count(self.frames + other.frames, self.points + other.points)

    def __sub__(self, other: "Count") -> "Count":
        return Count(self.frames - other.frames, self.points - other.points)


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """What became of the frames that a stream was given, at one moment.

    Attributes:
        produced: handed to `emit`. inherited: found in the spool, left by an earlier process.
        queued: in memory. spooled: on disk, not acknowledged yet.
        acknowledged: stored by the backend at our word. duplicate: the backend had them already.
        rejected: refused by the backend for good, by reason. dropped: given up here, by reason.
        rejected_messages, dropped_messages: layouts and events that the backend refused, or that were given up here.
        damaged: places where the spool's files were cut or changed, so that something unread was lost.
    """

    produced: Count = Count()
    inherited: Count = Count()
    queued: Count = Count()
    spooled: Count = Count()
    acknowledged: Count = Count()
    duplicate: Count = Count()
    rejected: Mapping[str, Count] = field(default_factory=dict)
    dropped: Mapping[str, Count] = field(default_factory=dict)
    rejected_messages: int = 0
    dropped_messages: int = 0
    damaged: int = 0

    @property
    def lost(self) -> Count:
        """Rejected and dropped together."""
        return sum([*self.rejected.values(), *self.dropped.values()], Count())

    @property
    def balanced(self) -> bool:
        """Whether produced + inherited = queued + spooled + acknowledged + duplicate + rejected + dropped."""
        gone = self.queued + self.spooled + self.acknowledged + self.duplicate + self.lost
        return self.produced + self.inherited == gone


class Books:
    """The ledger in the making; every entry moves a count from one place to another, under one lock.

    `moving` is held by whoever changes the spool and notes it here, so that the two are never seen apart. `losses` is
    raised with each entry under rejected or dropped.
    """

    def __init__(self) -> None:
        self.moving = threading.Lock()
        self.losses = 0
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(
            ("produced", "inherited", "queued", "spooled", "acknowledged", "duplicate"), Count()
        )
        self._rejected: dict[str, Count] = {}
        self._dropped: dict[str, Count] = {}
        self._rejected_messages = 0
        self._dropped_messages = 0
        self._damaged = 0

    def produced(self, count: Count) -> None:
        """Handed to `emit`, now in memory."""
        self._move(count, to=("produced", "queued"))

    def inherited(self, count: Count) -> None:
        """Found in the spool at the start."""
        self._move(count, to=("inherited", "spooled"))

    def spooled(self, count: Count) -> None:
        """From memory to disk."""
        self._move(count, source="queued", to=("spooled",))

    def acknowledged(self, count: Count, *, duplicate: bool) -> None:
        """The backend has them."""
        self._move(count, source="spooled", to=("duplicate" if duplicate else "acknowledged",))

    def rejected(self, count: Count, reason: str, *, is_frames: bool) -> None:
        """The backend refuses them for good."""
        with self._lock:
            self._counts["spooled"] -= count
            _add(self._rejected, reason, count)
            self.losses += 1
            self._rejected_messages += not is_frames

    def dropped(self, count: Count, reason: str, *, source: str = "queued") -> None:
        """Given up, out of memory or out of the spool."""
        with self._lock:
            self._counts[source] -= count
            _add(self._dropped, reason, count)
            self.losses += 1

    def message_dropped(self) -> None:
        """A layout or an event was given up."""
        with self._lock:
            self._dropped_messages += 1

    def damaged(self, *, spooled: Count, places: int) -> None:
        """The spool lost something unread; what is still in it is `spooled`."""
        with self._lock:
            lost = self._counts["spooled"] - spooled
            self._counts["spooled"] = spooled
            self._damaged = places
            if lost != Count():
                _add(self._dropped, "spool_damaged", lost)
                self.losses += 1

    def now(self) -> Ledger:
        """A copy that does not change."""
        with self._lock:
            return Ledger(
                **self._counts,
                rejected=dict(self._rejected),
                dropped=dict(self._dropped),
                rejected_messages=self._rejected_messages,
                dropped_messages=self._dropped_messages,
                damaged=self._damaged,
            )

    def _move(self, count: Count, *, to: tuple[str, ...], source: str | None = None) -> None:
        with self._lock:
            if source is not None:
                self._counts[source] -= count
            for place in to:
                self._counts[place] += count


def _add(counts: dict[str, Count], reason: str, count: Count) -> None:
    if reason not in counts and len(counts) >= MAX_REASONS:
        reason = "other"
    counts[reason] = counts.get(reason, Count()) + count
