"""A stretch of one metric, as read from storage: raw rows, or buckets that hide neither spike nor NaN."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gyrostat.wire.values import Float32Array


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
