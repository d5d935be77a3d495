"""What a training process measures and tells, on its way to the backend: disk first, never in the way of training."""

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gyrostat.stream.batching import size_of
from gyrostat.stream.encoder import Encoder
from gyrostat.stream.inbox import Flush, Happening, Inbox
from gyrostat.stream.ledger import Books, Count, Ledger
from gyrostat.stream.sender import Sender
from gyrostat.stream.sender import size_of as size_of_record
from gyrostat.stream.spool import Spool
from gyrostat.stream.transport import Transport
from gyrostat.wire.layout import Layout
from gyrostat.wire.messages import Acknowledgement, EventKind
from gyrostat.wire.pending import PendingFrame

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 30.0
"""How long `close` waits for the values that are still on the device; disks and devices may hang."""
AT_EXIT_SECONDS = 2.0


class Stream:
    """Takes frames, layouts and events of one attempt; none of its methods raises, and `emit` waits for nothing.

    An encoding thread fetches the values, groups them into batches and appends these to the spool; a sending thread
    posts what is in the spool, in order, and removes what the backend has acknowledged. With the backend away the spool
    grows to its limit; beyond that frames are dropped, and every drop is counted by its reason in `ledger`.

    Args:
        spool: where messages wait; closed by `close`. What an earlier process left in it is sent first.
        transport: None keeps everything on disk, for `sync` to send later.
        producer: who numbers the messages; None takes the spool's own name, which is the same over restarts.
        flush_seconds: a measured frame is in the spool, and on its way, after this time.
        on_acknowledged: called in the sending thread with each answer, such as one that asks to `tighten`.
    """

    def __init__(
        self,
        *,
        spool: Spool,
        transport: Transport | None,
        run: str,
        attempt: int,
        producer: str | None = None,
        flush_seconds: float = 0.5,
        on_acknowledged: Callable[[Acknowledgement], None] | None = None,
    ) -> None:
        self._spool = spool
        self._books, self._inbox = Books(), Inbox()
        self._take_over()
        self._sender = (
            None
            if transport is None
            else Sender(spool=spool, transport=transport, run=run, books=self._books, on_acknowledged=on_acknowledged)
        )
        self._encoder = Encoder(
            inbox=self._inbox,
            spool=spool,
            books=self._books,
            producer=producer or spool.producer(attempt),
            attempt=attempt,
            flush_seconds=flush_seconds,
            appended=self._sender.appended if self._sender else _nothing,
            is_over=lambda: self.superseded is not None,
        )
        self._closing = threading.Lock()
        self._closed: Ledger | None = None
        self._lost_at_flush = Count()
        self._process = os.getpid()
        self._encoder.start()
        if self._sender:
            self._sender.start()
        atexit.register(self._at_exit)

    def layout(self, layout: Layout) -> None:
        """Declares what the columns of the following frames mean."""
        if self._inbox.put(layout) is not None:
            self._books.message_dropped()

    def emit(self, frame: PendingFrame) -> None:
        """Takes a frame; where there is no room for it, counts it as dropped."""
        try:
            count = size_of(frame)
        except Exception:
            logger.exception("a frame of a wrong kind was given to the stream")
            return
        self._books.produced(count)
        if (reason := self._inbox.put(frame, count)) is not None:
            self._books.dropped(count, reason)

    def event(self, kind: EventKind, step: int, data: dict[str, Any]) -> None:
        """Tells that something happened; what is no JSON in `data` is told as text."""
        copied = dict(data) if isinstance(data, dict) else {"data": data}
        if self._inbox.put(Happening(kind, time.time(), step, copied)) is not None:
            self._books.message_dropped()

    def flush(self, timeout: float) -> bool:
        """Whether all that was emitted since the last flush is acknowledged within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        mark = Flush()
        if self._inbox.put(mark) is not None:
            return False
        if not mark.done.wait(timeout) or mark.sequence is None or self._sender is None:
            return False
        settled = self._sender.wait_settled(mark.sequence, max(0.0, deadline - time.monotonic()))
        lost_before, self._lost_at_flush = self._lost_at_flush, self.ledger.lost
        return settled and self._lost_at_flush == lost_before

    def close(self, timeout: float = 5.0) -> Ledger:
        """Puts everything into the spool, sends for up to `timeout` seconds, and leaves the rest for `sync`.

        A second call gives the ledger of the first.
        """
        with self._closing:
            if self._closed is None:
                self._closed = self._end(timeout)
            return self._closed

    @property
    def ledger(self) -> Ledger:
        """Where every frame is, now."""
        return self._books.now()

    @property
    def superseded(self) -> str | None:
        """Why the backend takes nothing more of this run; None while it does."""
        return None if self._sender is None else self._sender.superseded

    @property
    def run_unknown(self) -> bool:
        """Whether the backend takes nothing more because it has no such run; it may be the wrong backend."""
        return self._sender is not None and self._sender.run_unknown

    def _take_over(self) -> None:
        for record in self._spool.unsent():
            self._books.inherited(size_of_record(record))
        if self._spool.damaged:
            self._books.damaged(spooled=self._books.now().spooled, places=self._spool.damaged)

    def _end(self, timeout: float) -> Ledger:
        atexit.unregister(self._at_exit)
        if os.getpid() != self._process:  # a forked child: threads, spool and connections belong to the parent
            return self.ledger
        deadline = time.monotonic() + timeout
        self._inbox.close()
        self._encoder.join(max(timeout, DRAIN_SECONDS))
        if self._encoder.is_alive():
            logger.error("the last values could not be fetched within %g s, and are not sent", DRAIN_SECONDS)
        if self._sender is not None:
            self._sender.finish()
            self._sender.join(max(0.0, deadline - time.monotonic()))
            self._sender.stop()
        ledger = self.ledger
        self._spool.close()
        return ledger

    def _at_exit(self) -> None:
        self.close(AT_EXIT_SECONDS)


def sync(folder: Path, transport: Transport, run: str, attempt: int, *, timeout: float = 60.0) -> Ledger:
    """Sends what an ended process left in its spool; what is not sent within `timeout` seconds stays there.

    Raises:
        SpoolInUse: the process has not ended.
        OSError: there is no such folder, or it cannot be read.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no spool; give the folder in which the run's process kept its stream")
    return Stream(spool=Spool(folder), transport=transport, run=run, attempt=attempt).close(timeout)


def _nothing() -> None:
    """Nobody waits for what is appended."""
