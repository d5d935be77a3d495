"""The thread that notices silent workers, and attached trainings that fell silent."""

import logging
import time
from collections.abc import Callable
from datetime import datetime

from app.services import workers
from app.services.background import Background
from app.settings import AppSettings
from app.storage.database import Database

_log = logging.getLogger(__name__)


class Reaper(Background):
    """Looks at leases and silences every half heartbeat, from `start` to `stop`.

    Args:
        clock: the time that leases go by.
        wake: called after a run's state was changed.
    """

    def __init__(
        self, database: Database, settings: AppSettings, clock: Callable[[], datetime], *, wake: Callable[[], None]
    ) -> None:
        self._every = settings.heartbeat_seconds / 2
        super().__init__("reaper", self._look, pause=self._every)
        self._database = database
        self._settings = settings
        self._clock = clock
        self._wake = wake
        self._listening_since = clock()
        self._looked_at = self._clocks()
        self._failing = False

    def start(self) -> None:
        """Begins to look."""
        self._looked_at = self._clocks()
        super().start()

    def grant_grace(self) -> None:
        """After an absence of the backend: every lease, and every silence, begins anew."""
        now = self._listening_since = self._clock()
        self._database.write(lambda session: workers.grant_grace(session, self._settings, now))

    def sweep(self) -> list[tuple[str, str]]:
        """Looks once; returns (run, new state) of what was changed."""
        now = self._clock()
        with self._database.read() as session:
            silent = workers.silent_leases(session, self._settings, now)
            attached = workers.silent_attached(session, self._settings, listening_since=self._listening_since, now=now)
        changed = []
        for run_id, number in silent:
            state = self._judge(run_id, number)
            if state is not None:
                _log.warning("a worker is silent", extra={"run": run_id, "attempt": number, "state": state})
                changed.append((run_id, state))
        for run_id in attached:
            state = self._judge_attached(run_id)
            if state is not None:
                _log.warning("an attached training is silent", extra={"run": run_id, "state": state})
                changed.append((run_id, state))
        if changed:
            self._wake()
        return changed

    def _judge(self, run_id: str, number: int) -> str | None:
        now = self._clock()
        return self._database.write(lambda session: workers.judge(session, run_id, number, self._settings, now))

    def _judge_attached(self, run_id: str) -> str | None:
        now = self._clock()
        return self._database.write(lambda session: workers.judge_attached(session, run_id, self._settings, now))

    def _look(self) -> float:
        absent = was_absent(self._looked_at, self._clocks(), self._settings.unreachable_seconds / 2)
        try:
            if absent or self._failing:
                # stopped, suspended, or cut off from the database: the workers could not be heard either
                self.grant_grace()
            self.sweep()
            self._failing = False
        except Exception as error:  # whatever it is, workers must be watched again once it is over
            if not self._failing:
                _log.warning("cannot look at the leases", exc_info=error)
            self._failing = True
        self._looked_at = self._clocks()
        return self._every

    def _clocks(self) -> tuple[float, float]:
        return time.monotonic(), self._clock().timestamp()


def was_absent(before: tuple[float, float], after: tuple[float, float], seconds: float) -> bool:
    """Whether more than `seconds` passed on either of (monotonic, wall) clock between two looks.

    Both are asked: while a machine sleeps its monotonic clock stands still, and leases go by the wall clock, which may
    be set forward besides.
    """
    return any(late - early > seconds for early, late in zip(before, after, strict=True))
