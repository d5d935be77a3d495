"""Reading a frame: scalars, vectors and layers, with "not measured" told from "not a number"."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from app.alerts.model import FrameView, RunContext
from gyrostat.wire.values import Float32Array, is_absent

MAX_NAMES = 32
"""Layers that one verdict names; a net may have thousands."""

_NORM_PARTS = ("norm", "bn", "ln")


def scalar(frame: FrameView, metric: str) -> float | None:
    """The scalar's value, possibly NaN or infinite; None where the frame does not hold it or it was not measured."""
    values = frame.values.get(metric)
    if values is None or not values.size:
        return None
    value = float(values[0])
    return None if value != value and bool(is_absent(values[:1])[0]) else value


def names_of(metric: str, context: RunContext) -> tuple[str, ...]:
    """Names of the metric's values, in the order of its axis; empty where the layout does not tell."""
    return context.axes.get(context.axis_of.get(metric, ""), ())


def vector(frame: FrameView, metric: str, context: RunContext) -> Float32Array | None:
    """The metric's values, one a name of its axis; None where the frame does not hold it or it does not fit."""
    values = frame.values.get(metric)
    return values if values is not None and values.size and len(values) == len(names_of(metric, context)) else None


def matrices(metric: str, context: RunContext) -> npt.NDArray[np.intp]:
    """Positions, among the values of a metric on the axis `parameter`, of the weight matrices, in order of depth.

    Biases and normalization gains are left out: their gradients and sizes say little of how signal flows over depth.
    """
    return _matrix_positions(names_of(metric, context), context.axes.get("matrix", ()))


@lru_cache(maxsize=64)
def _matrix_positions(parameters: tuple[str, ...], matrices: tuple[str, ...]) -> npt.NDArray[np.intp]:
    # A run without the axis `matrix` (attached, few probes) does not tell shapes, so names must.
    wanted = frozenset(matrices) or frozenset(name for name in parameters if _looks_like_matrix(name))
    return np.array([index for index, name in enumerate(parameters) if name in wanted], dtype=np.intp)


def _looks_like_matrix(name: str) -> bool:
    owner, _, leaf = name.rpartition(".")
    last = owner.rpartition(".")[2].lower()
    return leaf.endswith("weight") and not any(part in last for part in _NORM_PARTS)


def ends(sizes: Float32Array) -> tuple[float, float]:
    """The upper medians of the first and of the last quarter of finite sizes in order of depth, at least one each."""
    end = max(1, len(sizes) // 4)
    # np.median costs ten times the partition itself on arrays this small
    early, late = np.partition(sizes[:end], end // 2), np.partition(sizes[-end:], end // 2)
    return float(early[end // 2]), float(late[end // 2])


def broken(values: Float32Array) -> npt.NDArray[np.bool_]:
    """Where `values` is NaN or infinite though it was measured."""
    finite = np.isfinite(values)
    return ~finite & ~is_absent(values) if not finite.all() else ~finite


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first names as a phrase: `a, b, c and 4 more`."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
