"""The encoding thread: fetches what was measured, makes messages of it, and puts them into the spool in order."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
from pydantic import ValidationError

from gyrostat.stream.batching import Gathering, fault, size_of
from gyrostat.stream.inbox import Flush, Happening, Inbox, Item
from gyrostat.stream.ledger import Books
from gyrostat.stream.plain import plain_event
from gyrostat.stream.segments import Kind
from gyrostat.stream.spool import Spool, SpoolFull
from gyrostat.wire.layout import Layout
from gyrostat.wire.messages import Event, EventsMessage, LayoutMessage
from gyrostat.wire.pending import PendingFrame

logger = logging.getLogger(__name__)

MAX_EVENTS = 16
"""Events of one message; with `plain.MAX_EVENT_BYTES` each, well below the 8 MiB of a request."""
MAX_WAITING = 1000
"""Layouts and events kept in memory while the disk refuses them."""
RETRY_SECONDS = 1.0
REPORT_SECONDS = 10.0
"""Losses are told at most so often."""

Message = tuple[Kind, Callable[[int], bytes]]


class Encoder(threading.Thread):
    """Empties the inbox until it is closed.

    Args:
        appended: called after something new is in the spool.
        is_over: whether the backend takes nothing more of this run.
    """

    def __init__(
        self,
        *,
        inbox: Inbox,
        spool: Spool,
        books: Books,
        producer: str,
        attempt: int,
        flush_seconds: float,
        appended: Callable[[], None],
        is_over: Callable[[], bool],
    ) -> None:
        super().__init__(name="gyrostat-encoder", daemon=True)
        self._inbox, self._spool, self._books = inbox, spool, books
        self._producer, self._attempt = producer, attempt
        self._flush_seconds = flush_seconds
        self._appended, self._is_over = appended, is_over
        self._gathering = Gathering()
        self._deadline = float("inf")
        self._widths: dict[int, dict[str, int]] = {}
        self._waiting: deque[Message] = deque()
        self._step = 0
        self._reported, self._reported_at = 0, float("-inf")

    def run(self) -> None:
        """Until the inbox is closed and empty."""
        while not self._inbox.is_drained:
            item = self._inbox.take(self._patience())
            try:
                self._handle(item)
            except Exception:
                logger.exception("the stream failed on %s; training goes on without it", type(item).__name__)
                if isinstance(item, Flush):
                    item.done.set()
                elif not isinstance(item, PendingFrame):
                    self._books.message_dropped()
        self._send_frames()
        self._report_losses(at_once=True)
        self._send_waiting()
        if self._waiting:
            logger.error("%d layouts and events could not be written to %s", len(self._waiting), self._spool.folder)
        for _ in self._waiting:
            self._books.message_dropped()

    def _patience(self) -> float | None:
        pending = self._deadline - time.monotonic()
        if self._waiting:
            pending = min(pending, RETRY_SECONDS)
        return None if pending == float("inf") else max(0.0, pending)

    def _handle(self, item: Item | None) -> None:
        if isinstance(item, PendingFrame):
            self._gather(item)
        else:
            self._send_frames()
        if isinstance(item, Layout):
            self._declare(item)
        elif isinstance(item, Happening):
            self._tell([item, *self._inbox.take_happenings(MAX_EVENTS - 1)])
        elif isinstance(item, Flush):
            self._send_waiting()
            item.sequence = None if self._waiting else self._spool.last_sequence
            item.done.set()
        elif item is None:
            self._send_waiting()
        elif not isinstance(item, PendingFrame):
            raise TypeError(f"expected a layout, got {type(item).__name__}")
        if time.monotonic() >= self._deadline:
            self._send_frames()
        self._report_losses()

    def _gather(self, frame: PendingFrame) -> None:
        if self._is_over():
            return self._books.dropped(size_of(frame), "superseded")
        try:
            reason = fault(frame, self._widths.get(frame.layout))
        except Exception:  # whatever the frame holds is not what it should
            reason = "malformed"
        if reason is not None:
            logger.warning("the frame of step %r cannot be sent: %s", frame.step, reason)
            return self._books.dropped(size_of(frame), reason)
        try:
            vector = frame.fetch()
        except Exception:
            logger.exception("the values of step %d could not be fetched", frame.step)
            return self._books.dropped(size_of(frame), "fetch_failed")
        if not self._gathering.fits(frame):
            self._send_frames()
        try:
            self._gathering.add(frame, vector)
        except Exception as error:
            logger.warning("the values of step %d do not fit its layout: %r", frame.step, error)
            return self._books.dropped(size_of(frame), "malformed")
        self._step = frame.step
        self._deadline = min(self._deadline, time.monotonic() + self._flush_seconds)

    def _send_frames(self) -> None:
        gathered, self._gathering, self._deadline = self._gathering, Gathering(), float("inf")
        if not gathered.count.frames:
            return
        self._send_waiting()
        if self._waiting:  # the layout that explains them, or an event before them, is not on disk
            return self._books.dropped(gathered.count, "disk_error")

        def encoded(sequence: int) -> bytes:
            return gathered.encoded(producer=self._producer, sequence=sequence, attempt=self._attempt)

        try:
            with self._books.moving:
                self._spool.append(Kind.FRAMES, encoded)
                self._books.spooled(gathered.count)
        except SpoolFull:
            self._books.dropped(gathered.count, "spool_full")
        except OSError as error:
            self._complain(error)
            self._books.dropped(gathered.count, "disk_error")
        except Exception:
            logger.exception("%d frames could not be encoded", gathered.count.frames)
            self._books.dropped(gathered.count, "internal_error")
        else:
            self._appended()

    def _declare(self, layout: Layout) -> None:
        self._widths[layout.version] = {metric.name: layout.width(metric.name) or 0 for metric in layout.metrics}

        def encoded(sequence: int) -> bytes:
            message = LayoutMessage(producer=self._producer, sequence=sequence, attempt=self._attempt, layout=layout)
            return message.model_dump_json().encode()

        self._send(Kind.LAYOUT, encoded)

    def _tell(self, happenings: list[Happening]) -> None:
        events = []
        for happening in happenings:
            try:
                data = plain_event(happening.data)
                events.append(Event(kind=happening.kind, at=happening.at, step=happening.step, data=data))
            except ValidationError as error:
                logger.warning("event %r cannot be sent: %s", happening.kind, error)
                self._books.message_dropped()
        if not events:
            return

        def encoded(sequence: int) -> bytes:
            message = EventsMessage(producer=self._producer, sequence=sequence, attempt=self._attempt, events=events)
            return message.model_dump_json().encode()

        self._send(Kind.EVENTS, encoded)

    def _send(self, kind: Kind, encoded: Callable[[int], bytes]) -> None:
        if self._is_over() or len(self._waiting) >= MAX_WAITING:
            return self._books.message_dropped()
        self._waiting.append((kind, encoded))
        self._send_waiting()

    def _send_waiting(self) -> None:
        while self._waiting:
            try:
                self._spool.append(*self._waiting[0])
            except OSError as error:
                return self._complain(error)
            self._waiting.popleft()
            self._appended()

    def _complain(self, error: OSError) -> None:
        logger.warning("cannot write to the spool %s: %s; training goes on", self._spool.folder, error)

    def _report_losses(self, *, at_once: bool = False) -> None:
        """Tells the backend, and the log, what had to be dropped."""
        losses = self._books.losses
        if losses == self._reported or (not at_once and time.monotonic() < self._reported_at + REPORT_SECONDS):
            return
        self._reported, self._reported_at = losses, time.monotonic()
        ledger = self._books.now()
        data: dict[str, Any] = msgspec.to_builtins({"dropped": ledger.dropped, "rejected": ledger.rejected})
        logger.warning("%d frames lost so far: %s", ledger.lost.frames, data)
        if not self._is_over():
            self._tell([Happening("loss_ledger", time.time(), self._step, data)])
