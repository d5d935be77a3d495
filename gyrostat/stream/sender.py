"""The sending thread: takes records out of the spool in order, until each is acknowledged or refused for good."""

import logging
import random
import threading
import time
from collections.abc import Callable

from gyrostat.stream.ledger import Books, Count
from gyrostat.stream.segments import Kind, Record
from gyrostat.stream.spool import Spool
from gyrostat.stream.transport import Permanent, RunUnknown, Superseded, Transient, Transport
from gyrostat.wire import codec
from gyrostat.wire.messages import Acknowledgement

logger = logging.getLogger(__name__)

FIRST_DELAY = 0.2
EARLY_DELAY, EARLY_SECONDS = 2.0, 60.0
"""In the first minute of an outage no wait is longer than this, so that a restarted backend is found at once."""
LONGEST_DELAY = 10.0
LONGEST_WISH = 60.0
"""A longer Retry-After is not obeyed."""


def delay(failures: int, outage_seconds: float, wish: float | None) -> float:
    """Seconds to wait after so many failures in a row; doubles, with jitter against many clients in step."""
    cap = EARLY_DELAY if outage_seconds < EARLY_SECONDS else LONGEST_DELAY
    own = min(cap, FIRST_DELAY * 2.0 ** min(failures - 1, 10)) * random.uniform(0.5, 1.0)  # noqa: S311
    return max(own, min(wish or 0.0, LONGEST_WISH))


def size_of(record: Record) -> Count:
    """Frames and points of a record; none for layouts and events."""
    if record.kind is not Kind.FRAMES:
        return Count()
    batch = codec.decode_msgpack(record.payload)
    return Count(len(batch.steps), batch.num_points)


class Sender(threading.Thread):
    """Sends until told to finish or to stop.

    Attributes:
        superseded: why the backend takes nothing more of this run; None while it does. What is left stays on disk.
        run_unknown: whether that is because the backend has no such run.
    """

    def __init__(
        self,
        *,
        spool: Spool,
        transport: Transport,
        run: str,
        books: Books,
        on_acknowledged: Callable[[Acknowledgement], None] | None,
    ) -> None:
        super().__init__(name="gyrostat-sender", daemon=True)
        self.superseded: str | None = None
        self.run_unknown = False
        self._spool, self._transport, self._run = spool, transport, run
        self._books, self._on_acknowledged = books, on_acknowledged
        self._changed = threading.Condition()
        self._appends = 0
        self._finishing = self._stopped = False
        self._failures, self._failing_since = 0, 0.0
        self._told: set[str] = set()
        self._damaged = spool.damaged

    def run(self) -> None:
        """Until stopped, superseded, or finishing with nothing left to send; then gives the connections back."""
        try:
            self._go_on()
        finally:
            self._transport.close()

    def _go_on(self) -> None:
        while not self._stopped and self.superseded is None:
            seen = self._appends
            try:
                self._send_all()
            except Transient as error:
                self._tell(f"backend does not take the stream of run {self._run}, and will be tried again: {error}")
                self._back_off(error.retry_after)
                continue
            except Exception:
                logger.exception("the stream of run %s failed, and will be tried again", self._run)
                self._back_off(None)
                continue
            with self._changed:
                while self._appends == seen and not self._finishing and not self._stopped:
                    self._changed.wait()
                if self._finishing and self._appends == seen:
                    return

    def appended(self) -> None:
        """There is something new in the spool."""
        with self._changed:
            self._appends += 1
            self._changed.notify_all()

    def finish(self) -> None:
        """Ends when nothing is left to send."""
        with self._changed:
            self._finishing = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Ends before the next message."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def wait_settled(self, sequence: int, timeout: float) -> bool:
        """Whether everything up to `sequence` was acknowledged or refused within `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._spool.settled >= sequence or self.superseded is not None or self._stopped, timeout
            )
        return self._spool.settled >= sequence

    def _send_all(self) -> None:
        for record in self._spool.unsent():
            if self._stopped:
                return
            try:
                acknowledgement = self._transport.send(self._run, record)
            except Superseded as error:
                self.run_unknown = isinstance(error, RunUnknown)
                self._give_up(str(error))
                return
            except Permanent as error:
                self._tell(f"backend refuses a message of run {self._run}, which is skipped: {error}")
                self._settle(record, refused=str(error))
                continue
            if acknowledgement.sequence != record.sequence:
                raise Transient(f"sent message {record.sequence}, but {acknowledgement.sequence} was acknowledged")
            self._settle(record, acknowledgement=acknowledgement)
        self._note_damage()

    def _settle(self, record: Record, *, refused: str = "", acknowledgement: Acknowledgement | None = None) -> None:
        if self._stopped:  # the spool may be closed, and the ledger read
            return
        count = size_of(record)
        with self._books.moving:
            if acknowledgement is None:
                self._books.rejected(count, refused, is_frames=record.kind is Kind.FRAMES)
            else:
                self._books.acknowledged(count, duplicate=acknowledgement.status == "duplicate")
            self._spool.settle(record.sequence)
        self._failures = 0
        with self._changed:
            self._changed.notify_all()
        if acknowledgement is not None:
            self._pass_on(acknowledgement)

    def _pass_on(self, acknowledgement: Acknowledgement) -> None:
        if acknowledgement.missing:
            self._tell(f"backend misses messages of run {self._run}: {acknowledgement.missing}")
        if self._on_acknowledged is not None:
            try:
                self._on_acknowledged(acknowledgement)
            except Exception:
                logger.exception("what listens to acknowledgements of run %s failed", self._run)

    def _give_up(self, reason: str) -> None:
        logger.warning("backend takes nothing more of run %s, so nothing more is sent: %s", self._run, reason)
        self.superseded = reason
        with self._changed:
            self._changed.notify_all()

    def _note_damage(self) -> None:
        if self._spool.damaged == self._damaged:
            return
        with self._books.moving:
            self._damaged = self._spool.damaged
            left = sum((size_of(record) for record in self._spool.unsent()), Count())
            self._books.damaged(spooled=left, places=self._damaged)

    def _back_off(self, wish: float | None) -> None:
        if not self._failures:
            self._failing_since = time.monotonic()
        self._failures += 1
        seconds = delay(self._failures, time.monotonic() - self._failing_since, wish)
        with self._changed:
            was_finishing = self._finishing
            self._changed.wait_for(lambda: self._stopped or self._finishing != was_finishing, seconds)

    def _tell(self, message: str) -> None:
        if message not in self._told and len(self._told) < 100:
            self._told.add(message)
            logger.warning("%s", message)
