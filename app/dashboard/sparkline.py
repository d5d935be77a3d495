"""A curve of a few hundred bytes, drawn by the server."""

import math
from collections.abc import Sequence
from typing import NamedTuple


class Sparkline(NamedTuple):
    """An SVG polyline. `pieces`: point lists, split where values are missing or not finite; `broken`: x of those."""

    width: int
    height: int
    pieces: list[str]
    broken: list[float]
    end: tuple[float, float] | None


def sparkline(values: Sequence[float], *, width: int = 96, height: int = 24, log: bool = True) -> Sparkline:
    """`values` from left to right; on a log scale when all are positive and `log` is set."""
    finite = [value for value in values if math.isfinite(value)]
    logarithmic = log and bool(finite) and min(finite) > 0
    scaled = [_scale(value, logarithmic) for value in values]
    known = [value for value in scaled if value is not None]
    if not known:
        return Sparkline(width, height, [], [_x(i, len(values), width) for i in range(len(values))][:8], None)
    low, high = min(known), max(known)
    span = (high - low) or 1.0
    pieces: list[list[str]] = [[]]
    broken: list[float] = []
    end = None
    for index, value in enumerate(scaled):
        x = _x(index, len(scaled), width)
        if value is None:
            broken.append(x)
            pieces.append([])
            continue
        y = 2 + (height - 4) * (1 - (value - low) / span) if high > low else height / 2
        pieces[-1].append(f"{x:.1f},{y:.1f}")
        end = (round(x, 1), round(y, 1))
    return Sparkline(width, height, [" ".join(piece) for piece in pieces if len(piece) > 1], broken[-8:], end)


def _scale(value: float, logarithmic: bool) -> float | None:
    if not math.isfinite(value):
        return None
    return math.log10(value) if logarithmic else value


def _x(index: int, total: int, width: int) -> float:
    return 2 + (width - 6) * (index / (total - 1) if total > 1 else 1.0)
