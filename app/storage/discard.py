"""What deleted runs leave: blocks, which are taken away some at a time, and pages, which SQLite gives back."""

from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session

from app.storage.tables import Block, Metric

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
