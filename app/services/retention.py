"""Deletes runs that ended long ago, where that is wanted, and gives back the space of whatever was deleted."""

import logging
from collections.abc import Callable
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
"""Runs with this tag stay, however long ago they ended."""
PAUSE_SECONDS = 2.0
FAILURE_SECONDS = 30.0

_log = logging.getLogger(__name__)


def expire(database: Database, keep_days: float, now: datetime) -> list[str]:
    """Deletes runs that ended more than `keep_days` ago, but for tagged ones and those that a fork needs; their ids."""
    with database.read() as session:
        before = now - timedelta(days=keep_days)
        old = [run.id for run in run_repository.ended(session, lifecycle.ENDED, before) if KEEP_TAG not in run.tags]
    deleted = []
    for run_id in old:
        try:
            database.write(partial(_delete, run_id))
        except AppError as error:
            _log.debug("a run stays: %s", error.detail)
        else:
            _log.info("a run was deleted: it ended %g days ago", keep_days, extra={"run": run_id})
            deleted.append(run_id)
    return deleted


def _delete(run_id: str, session: Session) -> None:
    run_service.delete(session, run_id)


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
    """Does both while there is something to do.

    Args:
        keep_days: how long ended runs are kept; None is for ever.
    """

    def __init__(self, database: Database, keep_days: float | None, clock: Callable[[], datetime]) -> None:
        super().__init__("gyrostat-retention", self._try)
        self._database, self._keep_days, self._clock = database, keep_days, clock

    def _try(self) -> float:
        try:
            if clear_some(self._database):
                return 0.0
            if self._keep_days is not None and expire(self._database, self._keep_days, self._clock()):
                return 0.0
            return PAUSE_SECONDS
        except AppError as error:
            _log.warning("nothing is deleted for now: %s", error.detail)
        except Exception:
            _log.exception("deleting failed and will be tried again")
        return FAILURE_SECONDS
