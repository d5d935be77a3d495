"""Merges small blocks into full, sealed ones and makes the next level's rows of those; nothing is ever half merged.

Blocks never change, so a merge reads and computes without holding anything, and then, in one short transaction, deletes
what it read and inserts what it made. If one of its blocks is gone by then, another process was faster. That
transaction holds the run's row, as frames do: of rows at one step the one that came last has the highest block id.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, and_, bindparam, delete, func, insert, or_, select, union_all
from sqlalchemy.orm import Session

from app.series import Rows, joined
from app.storage import blocks
from app.storage.blocks import LevelBlock
from app.storage.pyramid import FACTOR, FULL_BYTES, FULL_ROWS, above_level, above_raw, full_rows
from app.storage.tables import Block, Metric, Run
from gyrostat.wire.values import Float32Array

MANY = 16
"""So many small blocks are merged into one even where it is not full yet."""
AT_ONCE, VALUES_AT_ONCE = 512, 1 << 22
"""Blocks, and values, that one merge reads at most, unless the first block alone has more."""


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

    def above(self, place: int) -> LevelBlock:
        """Its rows in the next level, when it is the block at `place` among those that are sealed together."""
        return above_raw(self.steps, self.values, place)

    def take(self, index: npt.NDArray[Any] | slice) -> "Raw":
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

    def above(self, place: int) -> LevelBlock:
        """Its rows in the next level, when it is the block at `place` among those that are sealed together."""
        return above_level(self.block, place)

    def take(self, index: npt.NDArray[Any] | slice) -> "Coarse":
        """Some of the rows."""
        block = self.block
        return Coarse(LevelBlock(rows=block.rows.take(index), child=block.child[index], offset=block.offset[index]))


@dataclass(frozen=True, eq=False, kw_only=True)
class Made:
    """A block that is ready to be stored."""

    first: int
    last: int
    rows: int
    body: bytes


@dataclass(frozen=True, eq=False, kw_only=True)
class Above:
    """The next level's rows of the sealed blocks; `place` tells which of those each row sums up."""

    first: int
    last: int
    place: npt.NDArray[np.int64]
    packed: blocks.PackedLevel


@dataclass(frozen=True, eq=False, kw_only=True)
class Merge:
    """What shall replace what. `rest` is not full: it is merged again later."""

    run_id: str
    group: Group
    width: int
    sources: tuple[int, ...]
    sealed: tuple[Made, ...]
    rest: Made | None
    above: Above | None


_block, _metric, _run = (model.metadata.tables[model.__tablename__] for model in (Block, Metric, Run))
_KEY = (_block.c.metric_id, _block.c.attempt, _block.c.level, _block.c.layout)
_SUM, _WIDEST = func.sum(_block.c.rows), func.max(_block.c.width)
# made once: to make them anew for each merge would cost more than to run them
_DUE = (
    select(*_KEY)
    .where(_block.c.sealed.is_(False))
    .group_by(*_KEY)
    .having(
        or_(
            and_(func.count() >= MANY, 2 * func.max(_block.c.rows) <= _SUM),
            func.count() >= 4 * MANY,
            _SUM >= FULL_ROWS,
            and_(_SUM >= FACTOR, _SUM * _WIDEST * 4 >= FULL_BYTES),
        )
    )
    .limit(bindparam("limit"))
)
_OF_GROUP = and_(*(column == bindparam(f"of_{column.name}") for column in _KEY))
_ABOVE_GROUP = and_(*(column == bindparam(f"of_{column.name}") + int(column is _block.c.level) for column in _KEY))
_SMALL = (
    select(_block.c.id, _block.c.rows * _block.c.width)
    .where(_OF_GROUP, _block.c.sealed.is_(False))
    .order_by(_block.c.id)
    .limit(AT_ONCE)
)
_BODIES = (
    select(_block.c.id, _block.c.width, _block.c.body)
    .where(_block.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(_block.c.id)
)
# among the newest by their first steps: to look at all of them would cost more the longer the run is
_SEALED_LAST, _SUMMED_LAST = (
    select(_block.c.last_step).where(where).order_by(_block.c.first_step.desc()).limit(64).subquery()
    for where in (and_(_OF_GROUP, _block.c.sealed.is_(True)), _ABOVE_GROUP)
)
# of a thinned run, sealed blocks are gone: what was made of them tells how far they went
_SEALED_TO = select(
    func.max(union_all(select(_SEALED_LAST.c.last_step), select(_SUMMED_LAST.c.last_step)).subquery().c.last_step)
)
_ENDS = select(func.max(_block.c.last_step)).where(_block.c.id.in_(bindparam("ids", expanding=True)))
_RUN_OF = select(_metric.c.run_id).where(_metric.c.id == bindparam("of_metric_id"))
_HOLD_RUN = select(_run.c.id).where(_run.c.id == bindparam("of_run")).with_for_update()
_NEWER = select(_block.c.id).where(
    _OF_GROUP,
    _block.c.sealed.is_(False),
    _block.c.id > bindparam("newest"),
    _block.c.first_step <= bindparam("to"),
)
_REMOVE = delete(_block).where(_block.c.id.in_(bindparam("ids", expanding=True)), _block.c.sealed.is_(False))
_ADD_ONE = insert(_block).returning(_block.c.id)


def due(session: Session, limit: int) -> list[Group]:
    """Groups whose small blocks fill one, or are many.

    A block that is half full already waits until as much has come again, or very many blocks have: else a metric that
    gets a row at a time would be written anew all the time.
    """
    found = session.connection().execute(_DUE, {"limit": limit})
    return [Group(*row) for row in found]


def plan(session: Session, group: Group) -> Merge | None:
    """Reads a group's small blocks and sorts their rows into full blocks and a rest; None where there are none."""
    connection, this = session.connection(), _bound(group)
    run_id = connection.scalar(_RUN_OF, this)
    if run_id is None:  # deleted: its blocks go, too
        return None
    ids = _with_overlapping(connection, this, taken_together(connection.execute(_SMALL, this).all()))
    found = connection.execute(_BODIES, {"ids": ids}).all() if ids else []
    if not found:
        return None
    rows = _merged_raw(found) if group.level == 0 else _merged_coarse(found)
    sealed, rest = _chunks(rows, full_rows(found[0].width), connection.scalar(_SEALED_TO, this))
    return Merge(
        run_id=run_id,
        group=group,
        width=found[0].width,
        sources=tuple(block.id for block in found),
        sealed=tuple(_made(part) for part in sealed),
        rest=None if rest is None else _made(rest),
        above=_above(sealed) if sealed else None,
    )


def _with_overlapping(connection: Connection, this: Mapping[str, int], ids: list[int]) -> list[int]:
    """The ids, and later blocks that begin before these end: of a step that came twice they have the row to keep."""
    taken, count = ids, -1
    while taken and len(taken) != count:
        count = len(taken)
        to = connection.scalar(_ENDS, {"ids": taken})
        taken = ids + sorted(connection.scalars(_NEWER, {**this, "newest": ids[-1], "to": to}))
    return taken


def taken_together(small: Sequence[Any]) -> list[int]:
    """Ids of as many blocks, of (id, values) in order, as one merge reads: so its memory is bounded."""
    ends = accumulate(values for _, values in small)
    return [block_id for (block_id, values), end in zip(small, ends, strict=True) if end <= max(VALUES_AT_ONCE, values)]


def carry_out(session: Session, merge: Merge) -> None:
    """Replaces the small blocks.

    Raises:
        Raced: they are not all there any more, or newer ones were stored meanwhile; what it did must be taken back.
    """
    connection = session.connection()
    if connection.execute(_HOLD_RUN, {"of_run": merge.run_id}).first() is None:
        raise Raced(f"run {merge.run_id} is gone")
    newer = connection.execute(_NEWER, {**_bound(merge.group), "newest": merge.sources[-1], "to": _last(merge)})
    if newer.first() is not None:
        raise Raced(f"blocks of {merge.group} with the same steps came meanwhile")
    gone = connection.execute(_REMOVE, {"ids": merge.sources})
    if gone.rowcount != len(merge.sources):
        raise Raced(f"{len(merge.sources) - gone.rowcount} blocks of {merge.group} are gone")
    ids = [_insert(connection, merge, made, level=merge.group.level, sealed=True) for made in merge.sealed]
    if merge.rest is not None:
        _insert(connection, merge, merge.rest, level=merge.group.level, sealed=False)
    if merge.above is not None:
        above = merge.above
        body = above.packed.body(np.array(ids, dtype=np.int64)[above.place])
        made = Made(first=above.first, last=above.last, rows=len(above.place), body=body)
        _insert(connection, merge, made, level=merge.group.level + 1, sealed=False)


def _bound(group: Group) -> dict[str, int]:
    return {f"of_{name}": value for name, value in asdict(group).items()}


def _last(merge: Merge) -> int:
    return max(made.last for made in (*merge.sealed, *([merge.rest] if merge.rest else [])))


def _made(rows: "Raw | Coarse") -> Made:
    first, last = rows.extent
    return Made(first=first, last=last, rows=len(rows.last), body=rows.body())


def _above(sealed: "Sequence[Raw | Coarse]") -> Above:
    joined_above = _joined([rows.above(place) for place, rows in enumerate(sealed)])
    first, last = joined_above.extent
    block = joined_above.block
    return Above(first=first, last=last, place=block.child, packed=blocks.pack_level(block))


def _merged_raw(found: Sequence[Any]) -> Raw:
    parts = [blocks.decode(block.body) for block in found]
    steps, values = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    if (np.diff(steps) > 0).all():
        return Raw(steps, values)
    order = np.argsort(steps, kind="stable")
    ordered = steps[order]
    # of a step that came twice, the row that came last
    keep = np.append(ordered[:-1] != ordered[1:], True)
    return Raw(ordered[keep], values[order[keep]])


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
    sealed = [rows.take(slice(start, min(end, start + full))) for start, end in pairwise(bounds)]
    rest = rows.take(slice(fresh_end, None)) if fresh_end < len(rows.last) else None
    return sealed, rest


def _insert(connection: Connection, merge: Merge, made: Made, *, level: int, sealed: bool) -> int:
    row = {
        "metric_id": merge.group.metric_id,
        "attempt": merge.group.attempt,
        "level": level,
        "layout": merge.group.layout,
        "first_step": made.first,
        "last_step": made.last,
        "rows": made.rows,
        "width": merge.width,
        "sealed": sealed,
        "body": made.body,
    }
    block_id: int = connection.execute(_ADD_ONE, row).scalar_one()
    return block_id
