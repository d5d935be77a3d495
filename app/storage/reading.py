"""Reads one metric: raw rows, or the coarsest level that is fine enough, exact at the edges of the range.

Where two attempts overlap, the newer one's rows are shown after the step it started from. Columns are aligned by name:
a run's layout may change while it trains.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.series import ROW_FIELDS, Rows, joined, single_rows
from app.storage import blocks
from app.storage.pyramid import FACTOR, level_for
from app.storage.tables import Attempt, Block
from gyrostat.wire.values import ABSENT, Float32Array

BODIES_A_QUERY = 200
END = np.iinfo(np.int64).max


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a block lies, without its body."""

    id: int
    attempt: int
    level: int
    layout: int
    first: int
    last: int
    rows: int
    width: int
    sealed: bool


@dataclass(frozen=True, kw_only=True)
class Extent:
    """Steps of one attempt that are shown, both ends included."""

    attempt: int
    first: int
    last: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Part:
    """Rows that follow one layout."""

    attempt: int
    layout: int
    rows: Rows


def extents(session: Session, run_id: str, first: int = 0, last: int = END) -> list[Extent]:
    """The steps shown of each attempt, oldest first: up to where the next attempts began."""
    query = select(Attempt.number, Attempt.start_step).where(Attempt.run_id == run_id).order_by(Attempt.number.desc())
    shown, end = [], last
    for number, start in session.execute(query):
        if end >= first:
            shown.append(Extent(attempt=number, first=first, last=end))
        end = min(end, start)
    return shown[::-1]


def places(session: Session, metric_id: int, shown: Sequence[Extent]) -> list[Place]:
    """The blocks, of all levels, that hold rows in the extents; what replaces comes after what it replaces."""
    if not shown:
        return []
    columns = (
        Block.id,
        Block.attempt,
        Block.level,
        Block.layout,
        Block.first_step,
        Block.last_step,
        Block.rows,
        Block.width,
        Block.sealed,
    )
    query = (
        select(*columns)
        .where(
            Block.metric_id == metric_id,
            Block.last_step >= min(extent.first for extent in shown),
            Block.first_step <= max(extent.last for extent in shown),
        )
        .order_by(Block.attempt, Block.layout, Block.id)
    )
    by_attempt = {extent.attempt: extent for extent in shown}
    found = []
    for id_, attempt, level, layout, first, last, rows, width, sealed in session.execute(query):
        extent = by_attempt.get(attempt)
        if extent is not None and last >= extent.first and first <= extent.last:
            place = Place(
                id=id_,
                attempt=attempt,
                level=level,
                layout=layout,
                first=first,
                last=last,
                rows=rows,
                width=width,
                sealed=bool(sealed),
            )
            found.append(place)
    return found


def level_to_read(found: Sequence[Place], points: int | None) -> int:
    """The coarsest level that still gives about `points` rows; 0 where all rows are wanted."""
    raw = [place for place in found if place.level == 0]
    if points is None or not raw:
        return 0
    wanted = level_for(sum(place.rows for place in raw), points, max(place.width for place in raw))
    return min(wanted, max(place.level for place in found))


def parts(session: Session, found: Sequence[Place], shown: Sequence[Extent], level: int) -> Iterator[Part]:
    """Every row in the extents once, as coarse as `level` where it has got there already.

    Blocks that are not sealed are not in the next level yet: they are read beside it.
    """
    by_attempt = {extent.attempt: extent for extent in shown}
    wanted = [p for p in found if p.level == level or (p.level < level and not p.sealed)]
    for place, body in bodies(session, wanted):
        extent = by_attempt[place.attempt]
        if place.level == 0:
            yield _part(place, _raw_within(body, extent))
            continue
        block = blocks.decode_level(body)
        inside, across = _split(block.rows, extent)
        yield _part(place, block.rows.take(inside))
        if across.any():
            for rows in _finer(session, block, across, extent, place.level):
                yield _part(place, rows)


def bodies(session: Session, wanted: Iterable[Place]) -> Iterator[tuple[Place, bytes]]:
    """The blocks' bytes, in the same order, some at a time."""
    listed = list(wanted)
    for start in range(0, len(listed), BODIES_A_QUERY):
        chunk = listed[start : start + BODIES_A_QUERY]
        query = select(Block.id, Block.body).where(Block.id.in_([place.id for place in chunk]))
        found = {row.id: row.body for row in session.execute(query)}
        for place in chunk:
            yield place, found[place.id]


def _part(place: Place, rows: Rows) -> Part:
    return Part(attempt=place.attempt, layout=place.layout, rows=rows)


def _raw_within(body: bytes, extent: Extent) -> Rows:
    steps, values = blocks.decode(body)
    if steps[0] >= extent.first and steps[-1] <= extent.last:
        return single_rows(steps, values)
    inside = (steps >= extent.first) & (steps <= extent.last)
    return single_rows(steps[inside], values[inside])


def _split(rows: Rows, extent: Extent) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    inside = (rows.first >= extent.first) & (rows.last <= extent.last)
    outside = (rows.last < extent.first) | (rows.first > extent.last)
    return inside, ~inside & ~outside


def _finer(
    session: Session, block: blocks.LevelBlock, across: npt.NDArray[np.bool_], extent: Extent, level: int
) -> Iterator[Rows]:
    """What rows that lie across an edge of the extent stand for, as far as it lies inside."""
    for index in np.flatnonzero(across):
        body = session.scalars(select(Block.body).where(Block.id == int(block.child[index]))).one()
        rows = slice(int(block.offset[index]), int(block.offset[index]) + FACTOR)
        if level == 1:
            steps, values = blocks.decode(body)
            finer = single_rows(steps[rows], values[rows])
            yield finer.take(_split(finer, extent)[0])
            continue
        child = blocks.decode_level(body)
        few = np.arange(len(child.rows))[rows]
        below = blocks.LevelBlock(rows=child.rows.take(few), child=child.child[few], offset=child.offset[few])
        inside, still_across = _split(below.rows, extent)
        yield below.rows.take(inside)
        yield from _finer(session, below, still_across, extent, level - 1)


def aligned(found: Iterable[Part], columns: Mapping[tuple[int, int], npt.NDArray[np.int64]], width: int) -> Rows:
    """All parts side by side, in order of steps, one row a step.

    Args:
        found: parts; a later one replaces rows of an earlier one at the same step.
        columns: of each (attempt, layout) where each of its columns goes; -1: nowhere.
        width: number of columns of the result.
    """
    placed = [_placed(part.rows, columns[part.attempt, part.layout], width) for part in found if len(part.rows)]
    if not placed:
        return single_rows(np.zeros(0, dtype=np.int64), np.zeros((0, width), dtype=np.float32))
    rows = joined(placed)
    order = np.argsort(rows.last, kind="stable")
    last, single = rows.last[order], rows.counts[order] == 1
    keep = np.ones(len(order), dtype=bool)
    keep[:-1] = ~((last[:-1] == last[1:]) & single[:-1] & single[1:])
    if keep.all() and (np.diff(order) == 1).all():
        return rows
    return rows.take(order[keep])


def _placed(rows: Rows, columns: npt.NDArray[np.int64], width: int) -> Rows:
    if len(columns) == width and (columns == np.arange(width)).all():
        return rows
    kept = columns >= 0
    planes = {name: getattr(rows, name) for name in ROW_FIELDS}
    for name, plane in planes.items():
        if plane.ndim == 2:
            empty = ABSENT if plane.dtype == np.float32 else 0
            planes[name] = np.full((len(rows), width), empty, dtype=plane.dtype)
            planes[name][:, columns[kept]] = plane[:, kept]
    return Rows(**planes)


def latest_values(latest: bytes) -> Float32Array:
    """The newest row of a metric as stored beside it."""
    return np.frombuffer(latest, dtype="<f4")
