"""Reads one metric: raw rows, or the coarsest level that is fine enough, exact at the edges of the range.

Where raw rows were given up (`thinned`), level 1 is the finest, and a row of it lies where its last step does.

Where two attempts overlap, the newer one's rows are shown after the step it started from. Columns are aligned by name:
a run's layout may change while it trains.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sqlalchemy import BindParameter, ColumnElement, Select, and_, bindparam, false, func, or_, select
from sqlalchemy.orm import Session

from app.series import PLANES, Rows, joined, single_rows
from app.storage import blocks
from app.storage.blocks import LevelBlock
from app.storage.pyramid import level_for
from app.storage.remembered import Remembered, of_columns
from app.storage.tables import Block
from gyrostat.wire.values import ABSENT, Float32Array

BODIES_A_QUERY = 200
BLOCKS, CHARTS = "blocks", "charts"
END = np.iinfo(np.int64).max


class Place(NamedTuple):
    """Where a block lies, without its body."""

    id: int
    attempt: int
    level: int
    layout: int
    rows: int
    width: int


class Extent(NamedTuple):
    """Steps of one attempt that are shown, both ends included."""

    attempt: int
    first: int
    last: int


class Holding(NamedTuple):
    """What the blocks of one level, attempt and layout hold within the extents; blocks at an edge count whole."""

    level: int
    attempt: int
    layout: int
    rows: int
    width: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Part:
    """Rows that follow one layout; of its columns only those that are wanted."""

    attempt: int
    layout: int
    rows: Rows


Columns = Mapping[tuple[int, int], npt.NDArray[np.int64]]
"""Of each (attempt, layout), where each of its columns goes; -1: nowhere."""


def extents(starts: Sequence[tuple[int, int]], first: int = 0, last: int = END) -> list[Extent]:
    """The steps shown of each attempt, oldest first: up to where the next attempts began.

    `starts` holds number and first step of each attempt, oldest first; `first` to `last` are asked for.
    """
    shown, end = [], last
    for number, start in reversed(starts):
        if end >= first:
            shown.append(Extent(number, first, end))
        end = min(end, start)
    return shown[::-1]


def holdings(session: Session, metric_id: int, shown: Sequence[Extent]) -> list[Holding]:
    """What there is to read, on all levels; the cost hardly grows with the run, since no block's body is touched."""
    found = session.connection().execute(_holdings(len(shown)), _bound(metric_id, shown))
    return [Holding(level, attempt, layout, int(rows), width) for level, attempt, layout, rows, width in found]


# Statements are made once for each number of extents: forming one takes as long as carrying it out.
@lru_cache(maxsize=64)
def _holdings(extents: int) -> Select[*tuple[Any, ...]]:
    return (
        select(Block.level, Block.attempt, Block.layout, func.sum(Block.rows), func.max(Block.width))
        .where(_within(extents))
        .group_by(Block.level, Block.attempt, Block.layout)
    )


def level_to_read(held: Sequence[Holding], points: int | None, *, thinned: bool = False) -> int:
    """The coarsest level that still gives about `points` rows; the finest where all rows are wanted."""
    coarsest = max((holding.level for holding in held), default=0)
    if points is None or not held:
        return min(coarsest, int(thinned))
    rows = [0] * (coarsest + 1)
    for holding in held:
        rows[holding.level] += holding.rows
    return level_for(rows, points, max(holding.width for holding in held), thinned=thinned)


def places(session: Session, metric_id: int, shown: Sequence[Extent], level: int) -> list[Place]:
    """The blocks to read for `level`; what replaces comes after what it replaces.

    Blocks that are not sealed are not in the next level yet: they are read beside it.
    """
    found = session.connection().execute(_places(len(shown)), _bound(metric_id, shown) | {"level": level})
    return [Place(*row) for row in found]


@lru_cache(maxsize=64)
def _places(extents: int) -> Select[*tuple[Any, ...]]:
    level: BindParameter[int] = bindparam("level")
    return (
        select(Block.id, Block.attempt, Block.level, Block.layout, Block.rows, Block.width)
        .where(_within(extents), _of_level(level))
        .order_by(Block.attempt, Block.layout, Block.id)
    )


def _of_level(level: BindParameter[int] | int) -> ColumnElement[bool]:
    return or_(Block.level == level, and_(Block.level < level, Block.sealed.is_(False)))


def spans(session: Session, metric_id: int, shown: Sequence[Extent], level: int) -> list[tuple[Place, int, int]]:
    """The blocks to read for `level`, each with its first and last step; what replaces comes last."""
    query = (
        select(
            Block.id,
            Block.attempt,
            Block.level,
            Block.layout,
            Block.rows,
            Block.width,
            Block.first_step,
            Block.last_step,
        )
        .where(_within(len(shown)), _of_level(level))
        .order_by(Block.attempt, Block.layout, Block.id)
    )
    return [(Place(*row[:-2]), row[-2], row[-1]) for row in session.execute(query, _bound(metric_id, shown))]


def windows(spans: Sequence[tuple[Place, int, int]], values_at_once: int) -> Iterator[tuple[list[Place], int, int]]:
    """Spans by windows of steps, so that rows come in order though blocks of two attempts or late ones overlap."""
    ends = sorted((last, place.rows * place.width) for place, _, last in spans)
    first, values = 0, 0
    for position, (last, size) in enumerate(ends):
        values += size
        if values >= values_at_once or position == len(ends) - 1:
            group = [place for place, begin, end in spans if end >= first and begin <= last]
            if group and last >= first:
                yield group, first, last
            first, values = last + 1, 0


def _within(extents: int) -> ColumnElement[bool]:
    """Whether a block of the metric holds rows in one of so many extents, which `_bound` gives."""
    inside = (
        and_(
            Block.attempt == bindparam(f"attempt{place}"),
            Block.last_step >= bindparam(f"first{place}"),
            Block.first_step <= bindparam(f"last{place}"),
        )
        for place in range(extents)
    )
    return and_(Block.metric_id == bindparam("metric"), or_(false(), *inside))


def _bound(metric_id: int, shown: Sequence[Extent]) -> dict[str, int]:
    bound = {"metric": metric_id}
    for place, extent in enumerate(shown):
        bound |= {f"attempt{place}": extent.attempt, f"first{place}": extent.first, f"last{place}": extent.last}
    return bound


def parts(
    session: Session,
    found: Sequence[Place],
    shown: Sequence[Extent],
    columns: Columns,
    wanted: Collection[str] = PLANES,
) -> Iterator[Part]:
    """Every row in the extents once, as coarse as the places' blocks are, with the planes and the columns wanted."""
    by_attempt = {extent.attempt: extent for extent in shown}
    chosen = {key: _chosen(target) for key, target in columns.items()}
    for place, block in _blocks(session, found, chosen, wanted):
        extent, some = by_attempt[place.attempt], chosen[place.attempt, place.layout]
        if place.level == 0:
            steps, values = block.rows.last, block.rows.planes["final"]
            inside = (steps >= extent.first) & (steps <= extent.last)
            rows = (steps, values) if inside.all() else (steps[inside], values[inside])
            yield _part(place, single_rows(*rows, wanted))
            continue
        inside, across = _split(block.rows, extent)
        yield _part(place, block.rows if inside.all() else block.rows.take(inside))
        if across.any():
            for finer in _finer(session, block, across, extent, place.level, some):
                yield _part(place, finer)


_Chosen = npt.NDArray[np.int64] | None
"""Columns of a block that are wanted; None: all."""


def _chosen(target: npt.NDArray[np.int64]) -> _Chosen:
    kept = np.flatnonzero(target >= 0)
    return None if len(kept) == len(target) else kept


def _blocks(
    session: Session, found: Sequence[Place], chosen: Mapping[tuple[int, int], _Chosen], wanted: Collection[str]
) -> Iterator[tuple[Place, LevelBlock]]:
    """The blocks in their order. They never change, they are only replaced: sessions that only read remember them.

    But for rows that have just arrived, which are merged soon and read quickly. Where somebody looks at some columns of
    a block for the first time, or there is no room for all, those alone are unpacked.
    """
    known: Remembered | None = session.info.get(BLOCKS)
    fits = known is not None and known.has_room_for((place.level == 0, _bytes(place, wanted)) for place in found)
    for start in range(0, len(found), BODIES_A_QUERY):
        chunk = found[start : start + BODIES_A_QUERY]
        at_hand = dict[int, LevelBlock | None]()
        if known is not None:
            for place in chunk:
                some = chosen[place.attempt, place.layout]
                at_hand[place.id] = known.look_up(place.id, some, _planes_of(place, wanted))
        missing = [place.id for place in chunk if at_hand.get(place.id) is None]
        query = select(Block.id, Block.body).where(Block.id.in_(missing))
        bodies = {row.id: row.body for row in session.execute(query)} if missing else {}
        for place in chunk:
            block, some = at_hand.get(place.id), chosen[place.attempt, place.layout]
            if block is None:
                body = bodies[place.id]
                if known is None or blocks.arrived(body):
                    block = _decoded(place, body, some, wanted)
                elif some is not None and fits and known.count_look(place.id) > 1:
                    whole = known.keep(place.id, None, _decoded(place, body, None, wanted), is_raw=place.level == 0)
                    block = of_columns(whole, _planes_of(place, wanted), some)
                else:
                    block = known.keep(place.id, some, _decoded(place, body, some, wanted), is_raw=place.level == 0)
            yield place, block


def _planes_of(place: Place, wanted: Collection[str]) -> Collection[str]:
    """The planes to read; a stored row has one, which the others follow from."""
    return wanted if place.level else ("final",)


def _bytes(place: Place, wanted: Collection[str]) -> int:
    return place.rows * place.width * len(_planes_of(place, wanted)) * np.dtype(np.float32).itemsize


def _decoded(place: Place, body: bytes, columns: _Chosen, wanted: Collection[str]) -> LevelBlock:
    if place.level:
        return blocks.decode_level(body, wanted, columns)
    steps, values = blocks.decode(body, columns)
    none = np.zeros(0, dtype=np.int64)
    return LevelBlock(rows=single_rows(steps, values, ("final",)), child=none, offset=none.astype(np.uint32))


def _part(place: Place, rows: Rows) -> Part:
    return Part(attempt=place.attempt, layout=place.layout, rows=rows)


def _split(rows: Rows, extent: Extent) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    inside = (rows.first >= extent.first) & (rows.last <= extent.last)
    outside = (rows.last < extent.first) | (rows.first > extent.last)
    return inside, ~inside & ~outside


def _finer(
    session: Session,
    block: LevelBlock,
    across: npt.NDArray[np.bool_],
    extent: Extent,
    level: int,
    columns: npt.NDArray[np.int64] | None,
) -> Iterator[Rows]:
    """What rows that lie across an edge of the extent stand for, as far as it lies inside."""
    wanted = tuple(block.rows.planes)
    for index in np.flatnonzero(across):
        body = session.scalars(select(Block.body).where(Block.id == int(block.child[index]))).one_or_none()
        if body is None and level > 1:
            raise blocks.DamagedBlock(f"block {block.child[index]} is missing, and only rows as measured are given up")
        if body is None:  # given up, and its rows cannot be told apart any more
            if extent.first <= block.rows.last[index] <= extent.last:
                yield block.rows.take(np.array([index]))
            continue
        begin, stored = int(block.offset[index]), int(block.rows.counts[index])
        if level == 1:
            steps, values = blocks.decode(body, columns)
            rows = slice(begin, begin + stored)
            finer = single_rows(steps[rows], values[rows], wanted)
            yield finer.take(_split(finer, extent)[0])
            continue
        child = blocks.decode_level(body, wanted, columns)
        # as many of its rows as stand for the same stored ones, however many that are
        count = int(np.searchsorted(np.cumsum(child.rows.counts[begin:], dtype=np.int64), stored)) + 1
        few = np.arange(begin, begin + count)
        below = LevelBlock(rows=child.rows.take(few), child=child.child[few], offset=child.offset[few])
        inside, still_across = _split(below.rows, extent)
        yield below.rows.take(inside)
        yield from _finer(session, below, still_across, extent, level - 1, columns)


def aligned(found: Iterable[Part], columns: Columns, width: int, wanted: Collection[str] = PLANES) -> Rows:
    """All parts side by side, in order of steps, one row a step; of `width` columns.

    Of two stored rows at one step the one of the later part is kept.
    """
    placed = [_placed(part.rows, columns[part.attempt, part.layout], width) for part in found if len(part.rows)]
    if not placed:
        return single_rows(np.zeros(0, dtype=np.int64), np.zeros((0, width), dtype=np.float32), wanted)
    in_turn = joined(sorted(placed, key=lambda rows: int(rows.last[0])))
    if (np.diff(in_turn.last) > 0).all():
        return in_turn
    rows = joined(placed)
    order = np.argsort(rows.last, kind="stable")
    last, single = rows.last[order], rows.counts[order] == 1
    keep = np.ones(len(order), dtype=bool)
    keep[:-1] = ~((last[:-1] == last[1:]) & single[:-1] & single[1:])
    return rows.take(order[keep])


def _placed(rows: Rows, columns: npt.NDArray[np.int64], width: int) -> Rows:
    target = columns[columns >= 0]
    if len(target) == width and (target == np.arange(width)).all():
        return rows
    planes = {}
    for name, plane in rows.planes.items():
        empty = ABSENT if plane.dtype == np.float32 else 0
        planes[name] = np.full((len(rows), width), empty, dtype=plane.dtype)
        planes[name][:, target] = plane
    return replace(rows, planes=planes)


def latest_values(latest: bytes) -> Float32Array:
    """The newest row of a metric as stored beside it."""
    return np.frombuffer(latest, dtype="<f4")
