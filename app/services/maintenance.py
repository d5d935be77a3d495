"""Keeps storage compact in the background: small blocks become full ones, full ones get their coarser levels."""

import logging
import threading

from app.errors import AppError
from app.storage import merging
from app.storage.blocks import DamagedBlock
from app.storage.database import Database

GROUPS_AT_ONCE = 64
IDLE_SECONDS = 1.0
FAILURE_SECONDS = 10.0

logger = logging.getLogger(__name__)


def merge_some(database: Database, limit: int = GROUPS_AT_ONCE, *, skip: set[merging.Group] | None = None) -> int:
    """Merges up to `limit` groups of small blocks and tells how many it merged; 0 when there is nothing to do.

    Each group is one short transaction, so that frames never wait for long. It may be killed at any time and run in
    several processes at once. Groups with a damaged block are put into `skip`, left as they are and not tried again.

    Raises:
        Unavailable, StorageFull: the database says so; what was merged before stays merged.
    """
    skip = set() if skip is None else skip
    with database.read() as session:
        groups = merging.due(session, limit + len(skip))
    done = 0
    for group in groups:
        if group not in skip:
            done += _merge(database, group, skip)
    return done


def _merge(database: Database, group: merging.Group, skip: set[merging.Group]) -> bool:
    try:
        with database.read() as session:
            merge = merging.plan(session, group)
        if merge is None:
            return False
        database.write(lambda session: merging.carry_out(session, merge))
    except DamagedBlock as error:
        skip.add(group)
        logger.error("blocks of %s are damaged and stay as they are: %s", group, error)
        return False
    except merging.Raced as raced:
        logger.debug("another process merged first: %s", raced)
        return False
    return True


class Merger:
    """A thread that merges while there is something to merge."""

    def __init__(self, database: Database, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self._database = database
        self._idle_seconds = idle_seconds
        self._stopping = threading.Event()
        self._skip: set[merging.Group] = set()
        self._thread = threading.Thread(target=self._run, name="gyrostat-merger", daemon=True)

    def start(self) -> None:
        """Begins to merge."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the group at hand."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            # a few groups at a time, so that a stop is heard soon
            self._stopping.wait(self._try())

    def _try(self) -> float:
        try:
            return 0.0 if merge_some(self._database, 4, skip=self._skip) else self._idle_seconds
        except AppError as error:
            logger.warning("merging waits: %s", error.detail)
        except Exception:
            logger.exception("merging failed and will be tried again")
        return FAILURE_SECONDS
