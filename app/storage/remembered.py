"""What sessions that only read have unpacked of blocks: bounded, shared between requests, safe from any thread."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from app.storage.blocks import LevelBlock
from app.storage.recent import Recent

COARSE_BYTES, RAW_BYTES, SECONDS = 44 << 20, 12 << 20, 120
"""Rows as measured have less room: they are read from disk in a fraction of the time, and there are more of them."""
MAX_ASKED = 20_000
_OBJECTS_BYTES = 2048
"""Of what holds a block's arrays in memory, about."""


class Remembered:
    """Blocks with all columns of the planes that were asked for, by their ids; so many bytes of them at most."""

    def __init__(self, coarse_bytes: int = COARSE_BYTES, raw_bytes: int = RAW_BYTES) -> None:
        # not until the room is needed: of a run that is written, most blocks are replaced, and asked for no more
        self._coarse: Recent[int, LevelBlock] = Recent(coarse_bytes, _size, seconds=SECONDS)
        self._raw: Recent[int, LevelBlock] = Recent(raw_bytes, _size, seconds=SECONDS)
        self._asked: Recent[int, bool] = Recent(MAX_ASKED)

    def get(self, block_id: int) -> LevelBlock | None:
        """What is at hand of a block: maybe not all planes."""
        return self._coarse.get(block_id) or self._raw.get(block_id)

    def is_asked_again(self, block_id: int) -> bool:
        """Whether this was called for the block before, or some of it is at hand."""
        if self._asked.get(block_id):
            return True
        self._asked.put(block_id, True)
        return self.get(block_id) is not None

    def put(self, block_id: int, block: LevelBlock, *, is_raw: bool) -> LevelBlock:
        """Keeps the block's planes beside those that are at hand, and returns all of them.

        A plane of one number everywhere, as counts mostly are, takes the room of one.
        """
        known = self.get(block_id)
        planes = {} if known is None else dict(known.rows.planes)
        for name, plane in block.rows.planes.items():
            bits = plane.view(np.uint32)
            alike = (bits == bits[0, 0]).all()
            planes[name] = np.broadcast_to(plane[:1, :1].copy(), plane.shape) if alike else plane
        whole = replace(block, rows=replace(block.rows, planes=planes))
        (self._raw if is_raw else self._coarse).put(block_id, whole)
        return whole


def _size(block: LevelBlock) -> int:
    rows = block.rows
    heads: tuple[npt.NDArray[Any], ...] = (rows.first, rows.last, rows.counts, block.child, block.offset)
    planes = (plane.nbytes if any(plane.strides) else plane.itemsize for plane in rows.planes.values())
    return _OBJECTS_BYTES + sum(array.nbytes for array in heads) + sum(planes)
