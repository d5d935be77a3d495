"""Keeps storage compact in the background: small blocks become full ones, full ones get their coarser levels."""

import logging
from collections.abc import Sequence
from functools import partial

from app.errors import AppError
from app.services.background import Background
from app.storage import merging
from app.storage.blocks import DamagedBlock
from app.storage.database import Database, Session

GROUPS_AT_ONCE = 64
GROUPS_A_COMMIT = 8
IDLE_SECONDS = 1.0
FAILURE_SECONDS = 10.0

logger = logging.getLogger(__name__)


def merge_some(database: Database, limit: int = GROUPS_AT_ONCE, *, skip: set[merging.Group] | None = None) -> int:
    """Merges up to `limit` groups of small blocks and tells how many it merged; 0 when there is nothing to do.

    Some groups at a time are one short transaction, so that frames never wait for long. It may be killed at any time
    and run in several processes at once. Groups with a damaged block are put into `skip`, left as they are and not
    tried again.

    Raises:
        Unavailable, StorageFull: the database says so; what was merged before stays merged.
    """
    skip = set() if skip is None else skip
    with database.read() as session:
        groups = [group for group in merging.due(session, limit + len(skip)) if group not in skip]
    done = 0
    for start in range(0, len(groups), GROUPS_A_COMMIT):
        chunk = groups[start : start + GROUPS_A_COMMIT]
        merges = [merge for group in chunk if (merge := _planned(database, group, skip)) is not None]
        if merges:
            done += database.write(partial(_carried_out, merges))
    return done


def _planned(database: Database, group: merging.Group, skip: set[merging.Group]) -> merging.Merge | None:
    try:
        with database.read() as session:
            return merging.plan(session, group)
    except DamagedBlock as error:
        skip.add(group)
        logger.error("blocks of %s are damaged and stay as they are: %s", group, error)
        return None


def _carried_out(merges: Sequence[merging.Merge], session: Session) -> int:
    done = 0
    # always in the same order, so that processes that merge the same runs do not wait for each other in a circle
    for merge in sorted(merges, key=lambda merge: merge.run_id):
        try:
            with session.begin_nested():
                merging.carry_out(session, merge)
            done += 1
        except merging.Raced as raced:
            logger.debug("another process was faster: %s", raced)
    return done


class Merger(Background):
    """Merges while there is something to merge, a few groups a turn, so that a stop is heard soon."""

    def __init__(self, database: Database, *, idle_seconds: float = IDLE_SECONDS) -> None:
        super().__init__("gyrostat-merger", self._try)
        self._database = database
        self._idle_seconds = idle_seconds
        self._skip: set[merging.Group] = set()

    def _try(self) -> float:
        try:
            return 0.0 if merge_some(self._database, GROUPS_A_COMMIT, skip=self._skip) else self._idle_seconds
        except AppError as error:
            logger.warning("merging waits: %s", error.detail)
        except Exception:
            logger.exception("merging failed and will be tried again")
        return FAILURE_SECONDS
