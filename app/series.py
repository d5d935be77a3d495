"""A stretch of one metric, as read from storage: raw rows, or buckets that hide neither spike nor NaN."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gyrostat.wire.values import ABSENT, Float32Array, is_absent


@dataclass(frozen=True, eq=False, kw_only=True)
class Series:
    """Values of one metric over steps.

    Attributes:
        names: of the columns, in the axis's order; one empty name for a scalar.
        steps: (n,) rising. Of a bucket: its last step.
        values: (n, width) the raw rows; of a bucket its last row.
        minimum, mean, maximum: (n, width) over the finite values of each bucket, NaN where there is none;
            None where every row is a raw one.
        nonfinite: (n, width) how many NaN and infinities each bucket holds (absent values are not counted);
            None where every row is a raw one.
        rows: (n,) how many stored rows stand behind each.
        level: of the pyramid that was read; 0 is raw.
        total_points: stored rows in the range asked for, before any bucketing.
    """

    metric: str
    unit: str
    axis: str
    description: str
    names: tuple[str, ...]
    steps: npt.NDArray[np.int64]
    values: Float32Array
    minimum: Float32Array | None = None
    mean: Float32Array | None = None
    maximum: Float32Array | None = None
    nonfinite: npt.NDArray[np.uint32] | None = None
    rows: npt.NDArray[Any] | None = None
    level: int = 0
    total_points: int = 0

    @property
    def bucketed(self) -> bool:
        """Whether a row may stand for several stored ones."""
        return self.rows is not None

    def of_columns(self, places: Sequence[int]) -> "Series":
        """The columns at these places; a single one is not copied."""
        index = slice(places[0], places[0] + 1) if len(places) == 1 else list(places)

        def few(plane: Float32Array | None) -> Float32Array | None:
            return None if plane is None else plane[:, index]

        return replace(
            self,
            names=tuple(self.names[place] for place in places),
            values=self.values[:, index],
            minimum=few(self.minimum),
            mean=few(self.mean),
            maximum=few(self.maximum),
            nonfinite=None if self.nonfinite is None else self.nonfinite[:, index],
        )


Plane = npt.NDArray[Any]
"""One number for each row and column, (n, width)."""

PLANES = ("final", "minimum", "mean", "maximum", "nonfinite", "finite")
"""What rows may tell of the stored rows behind them.

final: the last stored row. minimum, mean, maximum: over the finite values; a column without any has NaN, or the absent
mark where nothing was measured at all. nonfinite, finite: how many values were measured that are not, or are, finite.
"""


_ALL_FINITE = {"nonfinite": 0, "finite": 1}
_SHORT = 16
"""Rows of a group that are put together one after the other."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Rows:
    """Rows of one metric, each of which stands for one stored row or for several consecutive ones.

    Attributes:
        first, last: (n,) first and last step behind each row.
        counts: (n,) stored rows behind each.
        planes: those of PLANES that were asked for, all (n, width).
    """

    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]
    counts: npt.NDArray[np.uint32]
    planes: Mapping[str, Plane]

    def __len__(self) -> int:
        return len(self.last)

    def take(self, index: npt.NDArray[Any] | slice) -> "Rows":
        """The rows at `index` (positions, a mask, or a slice)."""
        planes = {name: plane[index] for name, plane in self.planes.items()}
        return Rows(first=self.first[index], last=self.last[index], counts=self.counts[index], planes=planes)


def single_rows(steps: npt.NDArray[np.int64], values: Float32Array, wanted: Collection[str] = PLANES) -> Rows:
    """Stored rows as rows that stand for themselves; `values` is (n, width)."""
    planes: dict[str, Plane] = {"final": values}
    if not planes.keys() >= set(wanted):
        finite = np.isfinite(values)
        if finite.all():  # as nearly always: then nothing is copied
            planes |= dict.fromkeys(("minimum", "mean", "maximum"), values)
            planes |= {name: np.broadcast_to(np.uint32(count), values.shape) for name, count in _ALL_FINITE.items()}
        else:
            absent = is_absent(values)
            shown = np.where(finite | absent, values, np.float32(np.nan))
            planes |= dict.fromkeys(("minimum", "mean", "maximum"), shown)
            planes |= {"nonfinite": (~finite & ~absent).astype(np.uint32), "finite": finite.astype(np.uint32)}
    ones = np.ones(len(steps), dtype=np.uint32)
    return Rows(first=steps, last=steps, counts=ones, planes={name: planes[name] for name in wanted})


def joined(parts: Sequence[Rows]) -> Rows:
    """All rows of the parts (at least one, all of the same planes and width), in their order."""
    if len(parts) == 1:
        return parts[0]
    return Rows(
        first=np.concatenate([part.first for part in parts]),
        last=np.concatenate([part.last for part in parts]),
        counts=np.concatenate([part.counts for part in parts]),
        planes={name: _concatenated([part.planes[name] for part in parts]) for name in parts[0].planes},
    )


def _concatenated(planes: Sequence[Plane]) -> Plane:
    """One below the other; planes of one number everywhere stay one, as counts mostly are."""
    if all(plane.size and not any(plane.strides) for plane in planes) and len({plane[0, 0] for plane in planes}) == 1:
        return np.broadcast_to(planes[0][0, 0], (sum(map(len, planes)), planes[0].shape[1]))
    return np.concatenate(planes)


def bucketed(rows: Rows, starts: npt.NDArray[np.intp]) -> Rows:
    """One row for each group of consecutive rows; `starts` holds the rising index of each group's first, from 0.

    No spike and no non-finite value is lost: minima, maxima and counts are exact, means are weighted by the number
    of finite values. Extremes need the plane `nonfinite` beside them, the mean `finite` as well.
    """
    if len(starts) == len(rows):
        return rows
    given, planes = rows.planes, dict[str, Plane]()
    if "final" in given:
        planes["final"] = given["final"][np.append(starts[1:], len(rows)) - 1]
    for name in ("nonfinite", "finite"):
        if name in given:
            planes[name] = _reduced(np.add, given[name].astype(np.uint32, copy=False), starts)
    if "minimum" in given:
        planes["minimum"] = _reduced(np.fmin, given["minimum"], starts)  # fmin: of a number and NaN, the number
    if "maximum" in given:
        planes["maximum"] = _reduced(np.fmax, given["maximum"], starts)
    if "mean" in given:
        total = _reduced(np.add, np.nan_to_num(given["mean"], nan=0.0).astype(np.float64) * given["finite"], starts)
        mean = total / np.maximum(planes["finite"], 1)
        planes["mean"] = np.where(planes["finite"] > 0, mean.astype(np.float32), np.float32(np.nan))
    for name in ("minimum", "mean", "maximum"):
        if name in given and (empty := np.isnan(planes[name])).any():
            planes[name] = np.where(empty, np.where(planes["nonfinite"] > 0, np.float32(np.nan), ABSENT), planes[name])
    return Rows(
        first=np.minimum.reduceat(rows.first, starts),
        last=np.maximum.reduceat(rows.last, starts),
        counts=np.add.reduceat(rows.counts, starts, dtype=np.uint32),
        planes={name: planes[name] for name in given},
    )


def _reduced(operation: np.ufunc, plane: Plane, starts: npt.NDArray[np.intp]) -> Plane:
    """`operation.reduceat(plane, starts)`; where most groups are short in a tenth of its time: all second rows, ..."""
    numbers = plane if any(plane.strides) else plane[:1, :1]
    if plane.dtype.kind == "u" and not numbers.any():  # as counts of non-finite values mostly are
        return np.zeros((len(starts), plane.shape[1]), dtype=plane.dtype)
    sizes = np.diff(starts, append=len(plane))
    long = np.flatnonzero(sizes > _SHORT)
    if plane.shape[1] == 1:
        return np.asarray(operation.reduceat(plane[:, 0], starts, dtype=plane.dtype))[:, np.newaxis]
    if 8 * len(long) > len(starts):
        return np.asarray(operation.reduceat(plane, starts, axis=0, dtype=plane.dtype))
    found = plane.take(starts, axis=0)
    for place in range(1, min(int(sizes.max()), _SHORT)):
        groups = np.flatnonzero(sizes > place)
        found[groups] = operation(found[groups], plane[starts[groups] + place])
    for group in long.tolist():
        found[group] = operation.reduce(plane[starts[group] : starts[group] + sizes[group]], axis=0)
    return found


def starts_of_columns(last: npt.NDArray[np.int64], points: int) -> npt.NDArray[np.intp]:
    """Where the groups begin when rows ending at the rising steps `last` are drawn `points` columns wide."""
    if not len(last):
        return np.zeros(0, dtype=np.intp)
    span = float(last[-1] - last[0]) + 1.0
    column = np.minimum(((last - last[0]) * (points / span)).astype(np.int64), points - 1)
    return np.concatenate([[0], np.flatnonzero(np.diff(column)) + 1]).astype(np.intp)
