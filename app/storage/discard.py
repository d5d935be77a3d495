"""What is given up: blocks of deleted runs and raw ones of old runs, some at a time; pages, which SQLite gives back."""

from collections.abc import Sequence

from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session

from app.storage.tables import Attempt, Block, Metric

BLOCKS_AT_ONCE = 64
PAGES_AT_ONCE = 1024
PAGES_KEPT = 4096
"""Free pages that an SQLite file keeps for what is written next: merging frees and needs some all the time."""

_INCREMENTAL = 2


def anything(session: Session) -> bool:
    """Whether a deleted run has left something."""
    return session.scalars(select(Metric.id).where(Metric.run_id.is_(None)).limit(1)).first() is not None


def some(session: Session, limit: int = BLOCKS_AT_ONCE) -> int:
    """Takes away up to `limit` blocks of runs that are gone, and metrics that have none left; how many rows it were.

    Several processes may do so at once: each takes others.
    """
    orphans = select(Metric.id).where(Metric.run_id.is_(None))
    blocks = select(Block.id).where(Block.metric_id.in_(orphans)).limit(limit).with_for_update(skip_locked=True)
    ids = session.scalars(blocks).all()
    if ids:
        session.execute(delete(Block).where(Block.id.in_(ids)))
        return len(ids)
    empty = select(Metric.id).where(
        Metric.run_id.is_(None), ~select(Block.id).where(Block.metric_id == Metric.id).exists()
    )
    metrics = session.scalars(empty.limit(limit).with_for_update(skip_locked=True)).all()
    session.execute(delete(Metric).where(Metric.id.in_(metrics)))
    return len(metrics)


def full_raw(session: Session, run_id: str, limit: int = BLOCKS_AT_ONCE) -> Sequence[int]:
    """Ids of full blocks of a run's rows as measured that the coarser levels stand for, at most `limit`.

    Blocks in which a later attempt begins are left out: of what they hold only a part is shown.
    """
    begun = select(Attempt.number).where(
        Attempt.run_id == run_id,
        Attempt.number > Block.attempt,
        Attempt.start_step >= Block.first_step,
        Attempt.start_step < Block.last_step,
    )
    of_run = Block.metric_id.in_(select(Metric.id).where(Metric.run_id == run_id))
    full = select(Block.id).where(of_run, Block.level == 0, Block.sealed.is_(True), ~begun.exists())
    return session.scalars(full.limit(limit)).all()


def blocks(session: Session, ids: Sequence[int]) -> int:
    """Takes these away, as far as they are there; how many it were."""
    gone = session.connection().execute(delete(Block).where(Block.id.in_(ids)))
    return gone.rowcount


def spare_pages(session: Session, kept: int = PAGES_KEPT) -> int:
    """Free pages of an SQLite file beyond those `kept`; 0 where the file was made before it could give any back."""
    if session.scalar(text("PRAGMA auto_vacuum")) != _INCREMENTAL:
        return 0
    return max(0, int(session.scalar(text("PRAGMA freelist_count")) or 0) - kept)


def give_back(session: Session, pages: int) -> None:
    """Moves the last pages of an SQLite file into free ones and cuts so many off its end; the next checkpoint does."""
    connection = session.connection()
    for _ in range(pages):
        # one at a time: the driver carries such a statement out to its first page and no further
        connection.exec_driver_sql("PRAGMA incremental_vacuum(1)").close()
