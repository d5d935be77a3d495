"""Deletes runs that ended long ago, or thins them to summaries, where that is wanted, and gives the space back."""

import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial

from app.errors import AppError
from app.services import lifecycle
from app.services import runs as run_service
from app.services.background import Background
from app.storage import discard
from app.storage import runs as run_repository
from app.storage.database import Database, Session

KEEP_TAG = "keep"
"""Runs with this tag stay as they are, however long ago they ended."""
PAUSE_SECONDS = 2.0
LOOK_SECONDS = 3600.0
"""Between two looks for runs to thin: each of the old ones is looked through for blocks that came late."""
FAILURE_SECONDS = 30.0

_log = logging.getLogger(__name__)


def expire(database: Database, keep_days: float, now: datetime) -> list[str]:
    """Deletes runs that ended more than `keep_days` ago, but for tagged ones and those that a fork needs; their ids."""
    deleted = []
    for run_id in old_runs(database, keep_days, now):
        try:
            database.write(partial(_delete, run_id))
        except AppError as error:
            _log.debug("a run stays: %s", error.detail)
        else:
            _log.info("a run was deleted: it ended %g days ago", keep_days, extra={"run": run_id})
            deleted.append(run_id)
    return deleted


def old_runs(database: Database, days: float, now: datetime) -> list[str]:
    """Ids of runs that ended more than `days` ago, but for tagged ones."""
    with database.read() as session:
        ended = run_repository.ended(session, lifecycle.ENDED, now - timedelta(days=days))
        return [run.id for run in ended if KEEP_TAG not in run.tags]


def _delete(run_id: str, session: Session) -> None:
    run_service.delete(session, run_id)


def thin_some(database: Database, run_id: str, now: datetime) -> int:
    """Gives up a little of what an ended run measured at full rate; 0 when no more than summaries and edges are left.

    Each is one short transaction. From the first on, readers take the coarser levels in its stead.
    """
    with database.read() as session:
        ids = discard.full_raw(session, run_id)
    return database.write(partial(_thin, run_id, ids, now)) if ids else 0


def _thin(run_id: str, ids: Sequence[int], now: datetime, session: Session) -> int:
    run = run_repository.locked(session, run_id)
    if run is None or run.state not in lifecycle.ENDED or KEEP_TAG in run.tags:  # changed since it was looked for
        return 0
    if run.thinned_at is None:
        run.thinned_at = now
        _log.info("a run keeps summaries of what it measured, no more", extra={"run": run_id})
    run.revision += 1  # each time: a range of steps that ends within a summed-up row is told by blocks that go now
    return discard.blocks(session, ids)


def clear_some(database: Database, *, spare_pages: int = discard.PAGES_KEPT) -> int:
    """Takes away a little of what deleted runs left; 0 when nothing is left. Each is one short transaction.

    An SQLite file shrinks then, but for `spare_pages` free pages. It may be killed at any time.
    """
    with database.read() as session:
        left = discard.anything(session)
    if left:
        return database.write(discard.some)
    if not database.is_sqlite:
        return 0
    with database.read() as session:
        pages = min(discard.spare_pages(session, spare_pages), discard.PAGES_AT_ONCE)
    if pages:
        database.write(lambda session: discard.give_back(session, pages))
    return pages


class Retention(Background):
    """Does all of it while there is something to do.

    Args:
        keep_days: how long ended runs are kept; None is for ever.
        keep_raw_days: how long what they measured is kept as it was measured; None is as long as the run.
    """

    def __init__(
        self,
        database: Database,
        keep_days: float | None,
        keep_raw_days: float | None,
        clock: Callable[[], datetime],
    ) -> None:
        super().__init__("gyrostat-retention", self._try)
        self._database, self._clock = database, clock
        self._keep_days, self._keep_raw_days = keep_days, keep_raw_days
        self._old: list[str] = []
        self._look_at = 0.0

    def _try(self) -> float:
        try:
            if clear_some(self._database):
                return 0.0
            if self._keep_days is not None and expire(self._database, self._keep_days, self._clock()):
                return 0.0
            if self._keep_raw_days is not None and self._thinned(self._keep_raw_days):
                return 0.0
            return PAUSE_SECONDS
        except AppError as error:
            _log.warning("nothing is deleted for now: %s", error.detail)
        except Exception:
            _log.exception("deleting failed and will be tried again")
        return FAILURE_SECONDS

    def _thinned(self, days: float) -> bool:
        """Whether it did something: one step of the run at hand, whose blocks are few at a time."""
        if not self._old and time.monotonic() >= self._look_at:
            self._old = old_runs(self._database, days, self._clock())
            self._look_at = time.monotonic() + LOOK_SECONDS
        if not self._old:
            return False
        if not thin_some(self._database, self._old[-1], self._clock()):
            self._old.pop()
        return True
