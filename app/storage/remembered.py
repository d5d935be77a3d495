"""What sessions that only read have unpacked of blocks and put together from them: bounded, shared between requests,
safe from any thread.
"""

import threading
from collections.abc import Callable, Collection, Hashable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from cachetools import TTLCache

from app.series import Series
from app.storage.blocks import Columns, LevelBlock
from app.storage.recent import Recent

BLOCK_SECONDS = 30
"""A run that is written replaces its blocks; kept longer, they would take as much room as those that are shown."""
COARSE_BYTES, RAW_BYTES = 44 << 20, 12 << 20
"""Rows as measured have less: they are unpacked in a fraction of the time, there are more of them, and of a run that
goes on they are soon too many for a chart, which then reads a coarser level."""
MAX_LOOKED_AT = 20_000
CHART_BYTES, CHART_SECONDS = 48 << 20, 60
MAX_CHART_BYTES = 4 << 20
_OBJECTS_BYTES = 2048
"""Of what holds a block's arrays in memory, about."""
_Key = tuple[int, bytes | None]
"""A block's id, and which of its columns; None: all."""


class Remembered:
    """Planes of blocks, of all columns or of some, by the blocks' ids; so many bytes of them at most."""

    def __init__(self, coarse_bytes: int = COARSE_BYTES, raw_bytes: int = RAW_BYTES) -> None:
        self._room = {False: coarse_bytes, True: raw_bytes}
        self._kept: dict[bool, Recent[_Key, LevelBlock]] = {
            is_raw: Recent(room, _size, seconds=BLOCK_SECONDS) for is_raw, room in self._room.items()
        }
        self._looks: Recent[int, int] = Recent(MAX_LOOKED_AT)

    def look_up(self, block_id: int, columns: Columns | None, planes: Collection[str]) -> LevelBlock | None:
        """These planes of these columns of a block (None: of all), if everything of it is at hand."""
        whole = self._get((block_id, None))
        if whole is not None and whole.rows.planes.keys() >= set(planes):
            return of_columns(whole, planes, columns)
        some = None if columns is None else self._get(_key(block_id, columns))
        if some is not None and some.rows.planes.keys() >= set(planes):
            return of_columns(some, planes, None)
        return None

    def keep(self, block_id: int, columns: Columns | None, block: LevelBlock, *, is_raw: bool) -> LevelBlock:
        """Keeps the planes of what was read of these columns beside those that are at hand; returns what was given.

        A plane of one number everywhere, as counts mostly are, takes the room of one.
        """
        key = _key(block_id, columns)
        planes = {name: _folded(plane) for name, plane in block.rows.planes.items()}
        known = self._get(key)
        both = planes if known is None else {**known.rows.planes, **planes}
        self._kept[is_raw].put(key, replace(block, rows=replace(block.rows, planes=both)))
        return replace(block, rows=replace(block.rows, planes=planes))

    def count_look(self, block_id: int) -> int:
        """Counts that somebody looks at some columns of the block; how often that was, this time included."""
        looks = (self._looks.get(block_id) or 0) + 1
        self._looks.put(block_id, looks)
        return looks

    def has_room_for(self, sizes: Iterable[tuple[bool, int]]) -> bool:
        """Whether blocks of so many bytes, each raw or not, can all be kept whole and leave room for as much again."""
        needed = {False: 0, True: 0}
        for is_raw, size in sizes:
            needed[is_raw] += size
        return all(2 * needed[is_raw] <= room for is_raw, room in self._room.items())

    def _get(self, key: _Key) -> LevelBlock | None:
        return self._kept[False].get(key) or self._kept[True].get(key)


class Charts:
    """Charts of all columns of a metric, by what was asked of which revision of its run; so many bytes at most.

    They are kept from the second time on that somebody asks, so that one viewer of a run that goes on fills no memory
    with what nobody asks for again. Where there is no room, what is kept stays, and newcomers are made each time:
    turning over what viewers of many runs look at by turns would help none of them.
    """

    def __init__(self, max_bytes: int = CHART_BYTES, seconds: float = CHART_SECONDS) -> None:
        self._kept: TTLCache[Hashable, Series] = TTLCache(max_bytes, seconds, getsizeof=_chart_size)
        self._looks: TTLCache[Hashable, int] = TTLCache(MAX_LOOKED_AT, seconds)
        self._making: dict[Hashable, threading.Event] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Series | None]) -> Series | None:
        """What was kept for the key; at the second look what `make` gives, if it can. None: there is nothing."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                return found
            looks = self._looks[key] = self._looks.get(key, 0) + 1
            making = self._making.setdefault(key, threading.Event()) if looks == 2 else self._making.get(key)
        if looks == 2:
            return self._made(key, make)
        if making is None:
            return None
        making.wait()  # many that ask at once cost as much as two
        with self._lock:
            return self._kept.get(key)

    def _made(self, key: Hashable, make: Callable[[], Series | None]) -> Series | None:
        try:
            chart = make()
            if chart is not None:
                self._keep(key, chart)
            return chart
        finally:
            with self._lock:
                making = self._making.pop(key, None)
            if making is not None:
                making.set()

    def _keep(self, key: Hashable, chart: Series) -> None:
        size = _chart_size(chart)
        with self._lock:
            self._kept.expire()
            if size <= MAX_CHART_BYTES and self._kept.currsize + size <= self._kept.maxsize:
                self._kept[key] = chart


def of_columns(block: LevelBlock, planes: Collection[str], columns: Columns | None) -> LevelBlock:
    """Some planes, and some columns of them; None: all."""
    # a slice, where it is one column, is not copied
    one = columns is not None and len(columns) == 1
    index = slice(None) if columns is None else slice(columns[0], columns[0] + 1) if one else columns
    given = block.rows.planes
    return replace(block, rows=replace(block.rows, planes={name: given[name][:, index] for name in planes}))


def _key(block_id: int, columns: Columns | None) -> _Key:
    return block_id, None if columns is None else columns.tobytes()


def _folded(plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if not plane.size:
        return plane
    bits = plane.view(np.uint32)
    return np.broadcast_to(plane[:1, :1].copy(), plane.shape) if (bits == bits[0, 0]).all() else plane


def _size(block: LevelBlock) -> int:
    rows = block.rows
    heads: tuple[npt.NDArray[Any], ...] = (rows.first, rows.last, rows.counts, block.child, block.offset)
    planes = (plane.nbytes if any(plane.strides) else plane.itemsize for plane in rows.planes.values())
    return _OBJECTS_BYTES + sum(array.nbytes for array in heads) + sum(planes)


def _chart_size(chart: Series) -> int:
    arrays = (chart.steps, chart.values, chart.minimum, chart.mean, chart.maximum, chart.nonfinite, chart.rows)
    kept = {id(array): array.nbytes for array in arrays if array is not None and any(array.strides)}
    return _OBJECTS_BYTES + sum(kept.values())
