"""Frames: what was measured, step by step, in columns."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gyrostat.wire.values import Float32Array

MAX_STEP = 2**53
MAX_ATTEMPT = 2**31 - 1
PRODUCER_PATTERN = r"^[A-Za-z0-9._:-]{1,64}$"


@dataclass(frozen=True, eq=False, kw_only=True)
class Column:
    """All values of one metric in a batch.

    Attributes:
        metric: its name, declared by the layout.
        rows: (k,) which of the batch's frames hold it, rising; probes have cadences, so not all do.
        values: (k, width) float32; width 1 for a scalar. `wire.values.ABSENT` marks "not measured".
    """

    metric: str
    rows: npt.NDArray[np.uint32]
    values: Float32Array


@dataclass(frozen=True, eq=False, kw_only=True)
class Batch:
    """Consecutive frames of one attempt, as one producer sends them.

    Attributes:
        producer, sequence: who numbered this message, and its number (from 1, without gaps).
        attempt: which execution of the run measured it.
        layout: version of the layout its columns follow.
        steps: (f,) optimizer steps, rising. times: (f,) seconds since 1970 UTC. epochs: (f,) fractional.
        columns: one for each metric that any frame holds.
        recalled: whether these are steps before what was sent last, out of the flight recorder: they add what is
            missing there, and change neither newest values nor what detectors know.
    """

    producer: str
    sequence: int
    attempt: int
    layout: int
    steps: npt.NDArray[np.int64]
    times: npt.NDArray[np.float64]
    epochs: npt.NDArray[np.float64]
    columns: tuple[Column, ...]
    recalled: bool = False

    @property
    def num_points(self) -> int:
        """Values in the batch, absent ones included."""
        return sum(column.values.size for column in self.columns)


def check(batch: Batch) -> None:
    """Refuses a batch that does not hold together.

    Raises:
        ValueError: which part is wrong, what was got and what is expected.
    """
    frames = len(batch.steps)
    if not frames:
        raise ValueError("steps is empty; send at least one frame")
    if len(batch.times) != frames or len(batch.epochs) != frames:
        raise ValueError(
            f"times ({len(batch.times)}) and epochs ({len(batch.epochs)}) must be as long as steps ({frames})"
        )
    if batch.steps.min() < 0 or batch.steps.max() > MAX_STEP:
        raise ValueError(f"steps must lie in 0..2^53, got {batch.steps.min()}..{batch.steps.max()}")
    if frames > 1 and (np.diff(batch.steps) <= 0).any():
        raise ValueError("steps must rise from frame to frame")
    if not np.isfinite(batch.times).all() or batch.times.min() < 0 or batch.times.max() > 1e11:
        raise ValueError("times must be finite seconds since 1970, got one that is not")
    if not np.isfinite(batch.epochs).all():
        raise ValueError("epochs must be finite, got one that is not")
    names = [column.metric for column in batch.columns]
    if len(set(names)) != len(names):
        raise ValueError("a metric has two columns; put its rows into one")
    for column in batch.columns:
        _check_column(column, frames)


def _check_column(column: Column, frames: int) -> None:
    rows = column.rows.astype(np.int64)
    if not len(rows):
        raise ValueError(f"column {column.metric!r} has no rows; leave the column out")
    if column.values.ndim != 2 or len(column.values) != len(rows) or column.values.shape[1] == 0:
        raise ValueError(f"column {column.metric!r} has {len(rows)} rows but values of shape {column.values.shape}")
    if rows[-1] >= frames or (len(rows) > 1 and (np.diff(rows) <= 0).any()):
        raise ValueError(f"column {column.metric!r}: rows must rise and lie in 0..{frames - 1}")
