"""Merges small blocks into full, sealed ones and makes the next level's rows of those; nothing is ever half merged.

Blocks never change, so a merge reads and computes without holding anything, and then, in one short transaction, deletes
what it read and inserts what it made. If one of its blocks is gone by then, another process was faster.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import and_, delete, func, insert, or_, select
from sqlalchemy.orm import Session

from app.series import Rows, joined
from app.storage import blocks
from app.storage.blocks import LevelBlock
from app.storage.pyramid import FACTOR, FULL_BYTES, FULL_ROWS, above_level, above_raw, full_rows
from app.storage.tables import Block
from gyrostat.wire.values import Float32Array

MANY = 16
"""So many small blocks are merged into one even where it is not full yet."""
AT_ONCE = 512


class Raced(Exception):
    """Another process merged, or deleted, the blocks meanwhile."""


@dataclass(frozen=True)
class Group:
    """Small blocks that belong together."""

    metric_id: int
    attempt: int
    level: int
    layout: int


@dataclass(frozen=True, eq=False)
class Raw:
    """Level-0 rows in order of steps."""

    steps: npt.NDArray[np.int64]
    values: Float32Array

    @property
    def last(self) -> npt.NDArray[np.int64]:
        """Last step behind each row."""
        return self.steps

    @property
    def extent(self) -> tuple[int, int]:
        """First and last step."""
        return int(self.steps[0]), int(self.steps[-1])

    def body(self) -> bytes:
        """As a block."""
        return blocks.encode(self.steps, self.values)

    def above(self, block_id: int) -> LevelBlock:
        """Its rows in the next level, when it is the block `block_id`."""
        return above_raw(self.steps, self.values, block_id)

    def take(self, index: npt.NDArray[Any]) -> "Raw":
        """Some of the rows."""
        return Raw(self.steps[index], self.values[index])


@dataclass(frozen=True, eq=False)
class Coarse:
    """Rows of a coarser level in order of their last steps."""

    block: LevelBlock

    @property
    def last(self) -> npt.NDArray[np.int64]:
        """Last step behind each row."""
        return self.block.rows.last

    @property
    def extent(self) -> tuple[int, int]:
        """First and last step."""
        return int(self.block.rows.first.min()), int(self.block.rows.last.max())

    def body(self) -> bytes:
        """As a block."""
        return blocks.encode_level(self.block)

    def above(self, block_id: int) -> LevelBlock:
        """Its rows in the next level, when it is the block `block_id`."""
        return above_level(self.block, block_id)

    def take(self, index: npt.NDArray[Any]) -> "Coarse":
        """Some of the rows."""
        block = self.block
        return Coarse(LevelBlock(rows=block.rows.take(index), child=block.child[index], offset=block.offset[index]))


@dataclass(frozen=True, eq=False)
class Merge:
    """What shall replace what. `rest` is not full: it is merged again later."""

    group: Group
    width: int
    sources: tuple[int, ...]
    sealed: tuple[Raw | Coarse, ...]
    rest: Raw | Coarse | None


def due(session: Session, limit: int) -> list[Group]:
    """Groups whose small blocks fill one, or are many."""
    rows, width = func.sum(Block.rows), func.max(Block.width)
    query = (
        select(Block.metric_id, Block.attempt, Block.level, Block.layout)
        .where(Block.sealed.is_(False))
        .group_by(Block.metric_id, Block.attempt, Block.level, Block.layout)
        .having(
            or_(
                func.count() >= MANY,
                rows >= FULL_ROWS,
                and_(rows >= FACTOR, rows * width * 4 >= FULL_BYTES),
            )
        )
        .limit(limit)
    )
    return [Group(*row) for row in session.execute(query)]


def plan(session: Session, group: Group) -> Merge | None:
    """Reads a group's small blocks and sorts their rows into full blocks and a rest; None where there are none."""
    found = session.execute(
        select(Block.id, Block.width, Block.body)
        .where(*_in(group), Block.sealed.is_(False))
        .order_by(Block.id)
        .limit(AT_ONCE)
    ).all()
    if not found:
        return None
    sealed_to = session.scalar(select(func.max(Block.last_step)).where(*_in(group), Block.sealed.is_(True)))
    rows = _merged_raw(found) if group.level == 0 else _merged_coarse(found)
    width = found[0].width
    sealed, rest = _chunks(rows, full_rows(width), sealed_to)
    return Merge(group, width, tuple(block.id for block in found), tuple(sealed), rest)


def carry_out(session: Session, merge: Merge) -> None:
    """Replaces the small blocks.

    Raises:
        Raced: they are not all there any more; the transaction must be taken back.
    """
    for start in range(0, len(merge.sources), 200):
        chunk = merge.sources[start : start + 200]
        gone = session.connection().execute(delete(Block).where(Block.id.in_(chunk), Block.sealed.is_(False)))
        if gone.rowcount != len(chunk):
            raise Raced(f"{len(chunk) - gone.rowcount} blocks of {merge.group} are gone")
    above = []
    for rows in merge.sealed:
        block_id = _insert(session, merge, rows, level=merge.group.level, sealed=True)
        above.append(rows.above(block_id))
    if merge.rest is not None:
        _insert(session, merge, merge.rest, level=merge.group.level, sealed=False)
    if above:
        _insert(session, merge, _joined(above), level=merge.group.level + 1, sealed=False)


def _in(group: Group) -> tuple[Any, ...]:
    return (
        Block.metric_id == group.metric_id,
        Block.attempt == group.attempt,
        Block.level == group.level,
        Block.layout == group.layout,
    )


def _merged_raw(found: Sequence[Any]) -> Raw:
    parts = [blocks.decode(block.body) for block in found]
    steps = np.concatenate([steps for steps, _ in parts])
    order = np.argsort(steps, kind="stable")
    ordered = steps[order]
    # of a step that came twice, the row that came last
    keep = np.append(ordered[:-1] != ordered[1:], True)
    return Raw(ordered[keep], np.concatenate([values for _, values in parts])[order[keep]])


def _merged_coarse(found: Sequence[Any]) -> Coarse:
    return _joined([blocks.decode_level(block.body) for block in found])


def _joined(parts: Sequence[LevelBlock]) -> Coarse:
    rows: Rows = joined([part.rows for part in parts])
    whole = LevelBlock(
        rows=rows,
        child=np.concatenate([part.child for part in parts]),
        offset=np.concatenate([part.offset for part in parts]),
    )
    return Coarse(whole).take(np.argsort(rows.last, kind="stable"))


def _chunks(rows: Raw | Coarse, full: int, sealed_to: int | None) -> tuple[list[Raw | Coarse], Raw | Coarse | None]:
    if len(rows.last) < full:
        return [], rows
    # Rows that came late, from before what is sealed, get blocks of their own: in a block with the newer ones, their
    # coarse rows would stretch over everything between.
    late = int(np.searchsorted(rows.last, sealed_to, side="right")) if sealed_to is not None else 0
    fresh_end = late + (len(rows.last) - late) // full * full
    bounds = [*range(0, late, full), *range(late, fresh_end, full), fresh_end]
    sealed = [rows.take(np.arange(start, min(end, start + full))) for start, end in pairwise(bounds)]
    rest = rows.take(np.arange(fresh_end, len(rows.last))) if fresh_end < len(rows.last) else None
    return sealed, rest


def _insert(session: Session, merge: Merge, rows: Raw | Coarse, *, level: int, sealed: bool) -> int:
    first, last = rows.extent
    row = {
        "metric_id": merge.group.metric_id,
        "attempt": merge.group.attempt,
        "level": level,
        "layout": merge.group.layout,
        "first_step": first,
        "last_step": last,
        "rows": len(rows.last),
        "width": merge.width,
        "sealed": sealed,
        "body": rows.body(),
    }
    block_id: int = session.execute(insert(Block).values(row).returning(Block.id)).scalar_one()
    return block_id
