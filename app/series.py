"""A stretch of one metric, as read from storage: raw rows, or buckets that hide neither spike nor NaN."""

from collections.abc import Sequence
from dataclasses import dataclass
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
        return self.minimum is not None


@dataclass(frozen=True, eq=False, kw_only=True)
class Rows:
    """Rows of one metric, each of which stands for one stored row or for several consecutive ones.

    Attributes:
        first, last: (n,) first and last step behind each row.
        counts: (n,) stored rows behind each.
        final: (n, width) the last stored row.
        minimum, mean, maximum: (n, width) over the finite values; a column without any has NaN, or the absent mark
            where nothing was measured at all.
        nonfinite, finite: (n, width) how many values were measured that are not, or are, finite.
    """

    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]
    counts: npt.NDArray[np.uint32]
    final: Float32Array
    minimum: Float32Array
    mean: Float32Array
    maximum: Float32Array
    nonfinite: npt.NDArray[np.uint32]
    finite: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.last)

    def take(self, index: npt.NDArray[Any]) -> "Rows":
        """The rows at `index` (positions, or a mask)."""
        return Rows(**{name: getattr(self, name)[index] for name in ROW_FIELDS})


ROW_FIELDS = ("first", "last", "counts", "final", "minimum", "mean", "maximum", "nonfinite", "finite")


def single_rows(steps: npt.NDArray[np.int64], values: Float32Array) -> Rows:
    """Stored rows as rows that stand for themselves; `values` is (n, width)."""
    finite = np.isfinite(values)
    bounded = np.where(finite | is_absent(values), values, np.float32(np.nan))
    return Rows(
        first=steps,
        last=steps,
        counts=np.ones(len(steps), dtype=np.uint32),
        final=values,
        minimum=bounded,
        mean=bounded,
        maximum=bounded,
        nonfinite=(~finite & ~is_absent(values)).astype(np.uint32),
        finite=finite.astype(np.uint32),
    )


def joined(parts: Sequence[Rows]) -> Rows:
    """All rows of the parts (at least one, all of the same width), in their order."""
    if len(parts) == 1:
        return parts[0]
    return Rows(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in ROW_FIELDS})


def bucketed(rows: Rows, starts: npt.NDArray[np.intp]) -> Rows:
    """One row for each group of consecutive rows; `starts` holds the rising index of each group's first, from 0.

    No spike and no non-finite value is lost: minima, maxima and counts are exact, means are weighted by the number
    of finite values.
    """
    if not len(rows):
        return rows
    ends = np.append(starts[1:], len(rows)) - 1
    seen = rows.finite > 0
    finite = np.add.reduceat(rows.finite, starts, axis=0, dtype=np.uint32)
    nonfinite = np.add.reduceat(rows.nonfinite, starts, axis=0, dtype=np.uint32)
    total = np.add.reduceat(np.where(seen, rows.mean, 0).astype(np.float64) * rows.finite, starts, axis=0)
    empty = np.where(nonfinite > 0, np.float32(np.nan), ABSENT)
    any_finite = finite > 0

    def kept(values: npt.NDArray[Any]) -> Float32Array:
        return np.where(any_finite, values.astype(np.float32), empty)

    return Rows(
        first=np.minimum.reduceat(rows.first, starts),
        last=np.maximum.reduceat(rows.last, starts),
        counts=np.add.reduceat(rows.counts, starts, dtype=np.uint32),
        final=rows.final[ends],
        minimum=kept(np.minimum.reduceat(np.where(seen, rows.minimum, np.inf), starts, axis=0)),
        mean=kept(total / np.maximum(finite, 1)),
        maximum=kept(np.maximum.reduceat(np.where(seen, rows.maximum, -np.inf), starts, axis=0)),
        nonfinite=nonfinite,
        finite=finite,
    )


def starts_of_columns(last: npt.NDArray[np.int64], points: int) -> npt.NDArray[np.intp]:
    """Where the groups begin when rows ending at the rising steps `last` are drawn `points` columns wide."""
    if not len(last):
        return np.zeros(0, dtype=np.intp)
    span = float(last[-1] - last[0]) + 1.0
    column = np.minimum(((last - last[0]) * (points / span)).astype(np.int64), points - 1)
    return np.concatenate([[0], np.flatnonzero(np.diff(column)) + 1]).astype(np.intp)
