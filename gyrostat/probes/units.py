"""How large units and channels are, and which are silent: of all modules of one width together."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
Squares = Float32Array | Float64Array
Mask = npt.NDArray[np.bool_]

_HELD = 64
"""What is added waits for being put together so many times at most: bounds memory for loops over time steps."""


class Told(NamedTuple):
    """Of n modules in a step.

    Attributes:
        leaves: (n,) whose.
        dead: (n,) share of units that were silent for as long as it takes.
        outliers: (n,) largest root mean square of a unit over the (lower) median one.
        known: (n,) whether that median is not 0.
        silent: (n,) whether any unit was silent in this step.
    """

    leaves: npt.NDArray[np.intp]
    dead: Float64Array
    outliers: Float64Array
    known: Mask
    silent: Mask


class _Part(NamedTuple):
    """What was added of n modules: rows of their table, and as `Units.add` has it."""

    rows: list[int]
    squares: Squares
    scale: float
    alive: Mask
    variances: Float64Array


class _Table:
    """Of modules that have as many units; each module has a row."""

    def __init__(self, width: int) -> None:
        self.leaves: list[int] = []
        self.places: dict[int, int] = {}
        self.silent, self.measured = np.zeros((0, width), dtype=np.int32), np.zeros(0, dtype=np.int64)
        self.parts: list[_Part] = []

    def rows(self, leaves: Sequence[int]) -> list[int]:
        """Of these modules, which get one where they have none."""
        if new := [leaf for leaf in dict.fromkeys(leaves) if leaf not in self.places]:
            self.leaves += new
            self.places = {leaf: row for row, leaf in enumerate(self.leaves)}
            self.silent = np.pad(self.silent, ((0, len(new)), (0, 0)))
            self.measured = np.pad(self.measured, (0, len(new)))
        return [self.places[leaf] for leaf in leaves]

    def whole(self) -> _Part:
        """All that was added, each module once."""
        if len(self.parts) == 1 and len(set(self.parts[0].rows)) == len(self.parts[0].rows):
            return self.parts[0]
        rows = sorted({row for part in self.parts for row in part.rows})
        at, width = {row: place for place, row in enumerate(rows)}, self.silent.shape[1]
        squares, alive, variances = (
            np.zeros((len(rows), width)),
            np.zeros((len(rows), width), np.bool_),
            np.zeros(len(rows)),
        )
        for part in self.parts:
            for of_part, row in enumerate(part.rows):
                squares[at[row]] += part.scale * part.squares[of_part]
                alive[at[row]] |= part.alive[of_part]
                variances[at[row]] += part.scale**2 * part.variances[of_part]
        return _Part(rows, squares, 1, alive, variances)


class Units:
    """A module that is called with several widths counts for each of them: the last one of a step is told."""

    def __init__(self) -> None:
        self._tables: dict[int, _Table] = {}
        self._widths: dict[int, int] = {}

    def add(self, leaves: Sequence[int], squares: Squares, scale: float, alive: Mask, variances: Float64Array) -> None:
        """Outputs (n) of these modules.

        Args:
            leaves: the modules.
            squares: (n, width): Σx² of each unit's elements, or of a sample of them.
            scale: how many elements one of the sample stands for.
            alive: (n, width): whether an element of it is not 0.
            variances: (n,): of such a sum, for being that of a sample.
        """
        width = squares.shape[1]
        if (table := self._tables.get(width)) is None:
            table = self._tables[width] = _Table(width)
        table.parts.append(_Part(table.rows(leaves), squares, scale, alive, variances))
        self._widths.update((leaf, width) for leaf in leaves)
        if len(table.parts) == _HELD:
            table.parts = [table.whole()]

    def forget(self) -> None:
        """Drops what was added, but not for how long units have been silent."""
        for table in self._tables.values():
            table.parts = []

    def told(self, window: int) -> Told | None:
        """Of the modules that something was added of, which counts as one measurement; None of nothing."""
        columns = [self._measured(width, table, window) for width, table in self._tables.items() if table.parts]
        if not columns:
            return None
        leaves, dead, silent, typical, largest, chances = map(np.concatenate, zip(*columns, strict=True))
        with np.errstate(all="ignore"):
            logarithms = np.log(largest / typical) / 2
            outliers = np.exp(np.sqrt(np.maximum(logarithms * logarithms - chances, 0)))
        return Told(leaves.astype(np.intp), dead, outliers, typical != 0, silent)

    def _measured(self, width: int, table: _Table, window: int) -> tuple[npt.NDArray[Any], ...]:
        """Leaves, shares of dead units, whether any is silent, median and largest squares, squares of chance's part."""
        rows, squares, _, alive, variances = table.whole()
        table.measured[rows] += 1
        leaves = [table.leaves[row] for row in rows]
        shares, any_silent = np.zeros(len(rows)), np.zeros(len(rows), dtype=np.bool_)
        if np.count_nonzero(alive) == alive.size:  # nearly always
            table.silent[rows] = 0
        else:
            silent = (table.silent[rows] + 1) * ~alive
            table.silent[rows] = silent
            dead = silent >= np.minimum(table.measured[rows], window)[:, None]
            shares, any_silent = dead.sum(1) / width, silent.max(1) > 0
        found: tuple[npt.NDArray[Any], ...] = (np.array(leaves), shares, any_silent, *_spread(squares, variances))
        last = [at for at, leaf in enumerate(leaves) if self._widths[leaf] == width]
        return found if len(last) == len(leaves) else tuple(column[last] for column in found)

    def silence(self) -> tuple[dict[int, npt.NDArray[np.int32]], dict[int, int]]:
        """For how many measurements each unit has been silent, and how many there were, by module."""
        places = {leaf: (self._tables[width], self._tables[width].places[leaf]) for leaf, width in self._widths.items()}
        return (
            {leaf: table.silent[row].copy() for leaf, (table, row) in places.items()},
            {leaf: int(table.measured[row]) for leaf, (table, row) in places.items()},
        )

    def take_up(self, silent: Mapping[int, npt.NDArray[np.int32]], measured: Mapping[int, int]) -> None:
        """What `silence` gave, in the place of all that is known."""
        self._tables, self._widths = {}, {}
        for leaf, of_units in silent.items():
            width = self._widths[leaf] = len(of_units)
            table = self._tables.setdefault(width, _Table(width))
            (row,) = table.rows([leaf])
            table.silent[row], table.measured[row] = of_units, measured.get(leaf, 0)


def _spread(squares: Squares, variances: Float64Array) -> tuple[Float32Array, Float32Array, Float64Array]:
    """Of (n, width): median and largest squares, on a scale of each row's own, and what to take off ln² of their root.

    The largest of sums over samples is larger than that of all elements: among units that are alike, it is one that
    happens to look large. What is expected of so many, z standard errors, is taken off the ratio's logarithm, as two
    independent parts of a variance are: what is left is √(ln² − (z·s)²), 0 at least.
    """
    width = squares.shape[1]
    with np.errstate(all="ignore"):
        means = np.vecdot(squares, squares).astype(np.float64) / width
        if squares.dtype != np.float32:  # which is sorted three times as quickly
            scales = [mean**0.5 if 0 < mean < np.inf else 1.0 for mean in means.tolist()]
            squares = (squares / np.array(scales)[:, None]).astype(np.float32)
        relative: Float32Array = np.sort(squares, axis=1)  # NaN comes last
        chances = (_largest_of(width) / 2) ** 2 * variances / means
    return relative[:, (width - 1) // 2], relative[:, -1], chances


@lru_cache
def _largest_of(count: int) -> float:
    """Expected largest of so many independent standard normal numbers (Blom 1958)."""
    return NormalDist().inv_cdf((count - 0.375) / (count + 0.25))
