"""How coarser levels are made: one row for every few rows of a sealed block of the level below.

The first step is the largest, because it is what the pyramid costs: level 1 has a sixteenth of the rows, and all levels
above it together a third of that. So what a chart reads is never far from what it shows.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from app.series import Rows, bucketed, single_rows
from app.storage.blocks import LevelBlock
from gyrostat.wire.values import Float32Array

FACTOR = 16
"""Stored rows behind a row of level 1."""
FACTOR_ABOVE = 4
"""Rows behind a row of every higher level."""
FULL_ROWS = 1024
FULL_BYTES = 256 << 10
ROWS_READ_PER_POINT = 8
"""Stored rows are read as they are for a chart with at most this many for each of its points."""


def full_rows(width: int) -> int:
    """Rows of a sealed block: a multiple of FACTOR, of at most FULL_BYTES of values where that is possible."""
    by_size = FULL_BYTES // (4 * width) // FACTOR * FACTOR
    return max(FACTOR, min(FULL_ROWS, by_size))


def above_raw(steps: npt.NDArray[np.int64], values: Float32Array, block_id: int) -> LevelBlock:
    """The level-1 rows of a sealed level-0 block."""
    starts = np.arange(0, len(steps), FACTOR)
    if len(steps) % FACTOR == 0 and np.isfinite(values).all():
        return _above(_finite_groups(steps, values), starts, block_id)
    return _above(bucketed(single_rows(steps, values), starts), starts, block_id)


def _finite_groups(steps: npt.NDArray[np.int64], values: Float32Array) -> Rows:
    # the usual case in a fifth of the time: nothing to leave out, and all groups of the same size
    groups = values.reshape(-1, FACTOR, values.shape[1])
    shape = (groups.shape[0], groups.shape[2])
    return Rows(
        first=steps[::FACTOR],
        last=steps[FACTOR - 1 :: FACTOR],
        counts=np.full(shape[0], FACTOR, dtype=np.uint32),
        planes={
            "final": groups[:, -1],
            "minimum": groups.min(axis=1),
            "mean": (groups.sum(axis=1, dtype=np.float64) / FACTOR).astype(np.float32),
            "maximum": groups.max(axis=1),
            "nonfinite": np.zeros(shape, dtype=np.uint32),
            "finite": np.full(shape, FACTOR, dtype=np.uint32),
        },
    )


def above_level(block: LevelBlock, block_id: int) -> LevelBlock:
    """The next level's rows of a sealed block of a coarser level."""
    starts = np.arange(0, len(block.rows), FACTOR_ABOVE)
    return _above(bucketed(block.rows, starts), starts, block_id)


def _above(rows: Rows, starts: npt.NDArray[np.intp], block_id: int) -> LevelBlock:
    child = np.full(len(starts), block_id, dtype=np.int64)
    return LevelBlock(rows=rows, child=child, offset=starts.astype(np.uint32))


def level_for(rows: Sequence[int], points: int, width: int, *, thinned: bool = False) -> int:
    """The level to read for `points` points where level i has `rows[i]` rows.

    Stored rows up to some full blocks are always read as they are, so that a short range is never a bucket where it
    need not be; else the coarsest level with half as many rows as points, or the finest of the coarse ones. Of a
    `thinned` run level 0 has too few rows to go by.
    """
    if not thinned and rows[0] <= max(ROWS_READ_PER_POINT * points, 4 * full_rows(width)):
        return 0
    enough = [level for level in range(1, len(rows)) if 2 * rows[level] >= points]
    return max(enough, default=min(1, len(rows) - 1))
