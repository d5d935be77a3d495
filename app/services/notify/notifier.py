"""The threads that send what waits: one that looks, and one for each channel that has something to be told."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime

from app.errors import AppError, Unavailable
from app.services.background import Background
from app.services.notify import outbox
from app.services.notify.courier import Courier
from app.services.notify.outbox import Outcome, Task
from app.services.telemetry import Telemetry
from app.storage import channels as channel_repository
from app.storage.database import Database

LOOK_SECONDS = 1.0
FAILURE_SECONDS = 10.0
TIDY_SECONDS = 600.0
ENDING_SECONDS = 0.1
"""How soon somebody who waits for what is sent now hears that the service ends."""
STOP_SECONDS = 2.0
"""What is being sent when the service ends has so long; then it is left, and sent again at the next start."""

_log = logging.getLogger(__name__)


class Notifier(Background):
    """Sends from `start` to `stop`. A receiver that is slow or dead keeps its own channel's thread, and nobody else.

    Args:
        clock: the time that holds and delays go by.
        look_seconds: between two looks for what waits.
    """

    def __init__(
        self,
        database: Database,
        courier: Courier,
        telemetry: Telemetry,
        clock: Callable[[], datetime],
        *,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        super().__init__("gyrostat-notifier", self._try)
        self._database, self._courier, self._telemetry, self._clock = database, courier, telemetry, clock
        self._look_seconds = look_seconds
        self._ending = threading.Event()
        self._end_by = float("inf")
        self._at_work: dict[str, threading.Thread] = {}
        self._tidy_at = 0.0

    def start(self) -> None:
        """Begins."""
        if self._database.is_sqlite:
            # one process serves the file, so whoever held a channel is gone
            self._database.write(lambda session: channel_repository.let_go_of_all(session, self._clock()))
        super().start()

    def close(self) -> None:
        """Begins nothing any more."""
        if not self._ending.is_set():
            self._end_by = time.monotonic() + STOP_SECONDS
            self._ending.set()

    def stop(self) -> None:
        """Ends; what is being sent may take `STOP_SECONDS` from `close` on."""
        self.close()
        super().stop()
        for thread in list(self._at_work.values()):
            thread.join(max(0.0, self._end_by - time.monotonic()))

    def send_due(self) -> list[threading.Thread]:
        """Begins to send through every channel that something waits for; the threads that do."""
        now = self._clock()
        with self._database.read() as session:
            due = channel_repository.due(session, now)
        begun = []
        for channel in due:
            if channel in self._at_work:
                continue
            thread = threading.Thread(target=self._serve, args=(channel,), name="gyrostat-channel", daemon=True)
            self._at_work[channel] = thread
            try:
                thread.start()
            except RuntimeError:  # no room for a thread: at the next look there may be
                del self._at_work[channel]
                raise
            begun.append(thread)
        return begun

    def send_now(self, task: Task) -> Outcome:
        """Sends something out of turn and tells what came of it.

        Raises:
            Unavailable: the service ends meanwhile; whether it was sent is not known.
        """
        outcomes: list[Outcome] = []
        # a thread that nobody waits for at the end, unlike that of a request
        thread = threading.Thread(target=lambda: outcomes.append(self._sent(task)), name="gyrostat-test", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(ENDING_SECONDS)
            if self._ending.is_set() and not outcomes:
                raise Unavailable("the service ends before it is known what came of it; try again", retry_after=2.0)
        self._count(task, "sent" if outcomes[0].passed else "failed")
        return outcomes[0]

    def _try(self) -> float:
        if self._ending.is_set():
            return self._look_seconds
        try:
            self.send_due()
            if time.monotonic() >= self._tidy_at:
                self._database.write(channel_repository.forget_strays)
                self._tidy_at = time.monotonic() + TIDY_SECONDS
            return self._look_seconds
        except AppError as error:
            _log.warning("nobody is notified for now: %s", error.detail)
        except Exception:
            _log.exception("notifying failed and will be tried again")
        return FAILURE_SECONDS

    def _serve(self, channel: str) -> None:
        """Sends what waits for a channel, one message after another."""
        try:
            while not self._ending.is_set() and self._send_one(channel):
                pass
        except AppError as error:
            _log.warning("a channel waits: %s", error.detail, extra={"channel": channel})
        except Exception:
            _log.exception("a channel failed and will be tried again", extra={"channel": channel})
        finally:
            self._at_work.pop(channel, None)

    def _send_one(self, channel: str) -> bool:
        task = self._database.write(lambda session: outbox.take(session, channel, self._clock()))
        if task is None:
            return False
        outcome = self._sent(task)
        state = self._database.write(lambda session: outbox.record(session, task, outcome, self._clock()))
        self._count(task, state)
        if state != "sent":
            _log.warning(
                "a notification was not delivered" + ("" if state == "failed" else " yet"),
                extra={"channel": channel, "delivery": task.id, "status": outcome.status, "reason": outcome.error},
            )
        return True

    def _sent(self, task: Task) -> Outcome:
        began = time.perf_counter()
        try:
            return self._courier.send(task, self._clock())
        except Exception:
            # a defect of ours is a failed try like any other, so that it ends, and the channel's next message is sent
            _log.exception("a notification could not be sent", extra={"channel": task.channel, "delivery": task.id})
            return Outcome(passed=False, again=True, error="something unexpected went wrong; the log has it")
        finally:
            self._telemetry.notification_seconds.labels(task.target.kind).observe(time.perf_counter() - began)

    def _count(self, task: Task, state: str) -> None:
        self._telemetry.notifications.labels(task.target.kind, "retried" if state == "waiting" else state).inc()
