"""How large outputs on a CPU are where there is no kernel, by few passes over memory; and samples of their elements.

Sum, squares, largest magnitude and whether all is finite take four passes at the speed of memory. Zeros, saturated
elements, and third and fourth moments would take eight more, and are those of a sample.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

SAMPLE = 8192
"""Elements of a sample: a fraction of 1/2 is told to 0.011, a normal distribution's kurtosis to 3.6 % (two standard
errors, where elements are independent)."""

_POSITIONS = 16
"""Samples, positions or pixels of an output that are looked at, at least; of each, all units or channels are."""

_IN_EACH = 4
"""Pixels of an image that are looked at, at least."""

_TOGETHER = 1 << 20
"""Elements read together: they stay in the cache between the passes."""

_ROW = 4096
"""Squares that are added up in float32."""

_LONG_RUN = 64
"""Elements of a channel side by side that are worth a product of their own."""

_SMALLEST, _LARGEST = 2.0**-24, 2.0**28
"""Between these magnitudes, float32 holds fourth powers, and their sum."""


class Size(NamedTuple):
    """Of all elements of an output, which are finite.

    Attributes:
        total: Σx.
        squares: (channels,) Σx² of each.
        largest: max|x|.
    """

    total: float
    squares: Float64Array
    largest: float


def size_of(array: Float32Array, *, negative: bool = True) -> Size | None:
    """Of (outer, channels, inner), contiguous; None where one is not finite, or float32 does not hold fourth powers.

    `negative`: whether there may be negative ones.
    """
    if array.size > _TOGETHER and len(array) > 1:
        rows = max(1, _TOGETHER // array[0].size)
        parts = [size_of(array[at : at + rows], negative=negative) for at in range(0, len(array), rows)]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        squares = np.sum([part.squares for part in known], axis=0)
        return Size(sum(part.total for part in known), squares, max(part.largest for part in known))
    largest = array.max().item()
    if negative:
        largest = max(largest, -array.min().item())
    if largest != 0 and not _SMALLEST < largest < _LARGEST:  # NaN is not
        return None
    return Size(torch.from_numpy(array).sum().item(), _squares(array), largest)


def _squares(array: Float32Array) -> Float64Array:
    """(channels,) Σx² of (outer, channels, inner)."""
    outer, channels, inner = array.shape
    if inner >= _LONG_RUN:
        found = sum(
            np.vecdot(run, run).sum(0, dtype=np.float64)
            for run in (array[:, :, at : at + _ROW] for at in range(0, inner, _ROW))
        )
        return np.asarray(found)
    table = array.reshape(outer, channels * inner)
    blocks = (table[at : at + _ROW] for at in range(0, outer, _ROW))
    each = np.asarray(sum(np.einsum("ij,ij->j", block, block).astype(np.float64) for block in blocks))
    return each if inner == 1 else each.reshape(channels, inner).sum(1)


@lru_cache
def sample_of(outer: int, channels: int, inner: int) -> tuple[slice, slice, slice]:
    """Where about `SAMPLE` elements of so many lie, as many of each channel, evenly spread.

    Strides are odd, so that they do not keep to a column of images or a place in sequences, which are of even sizes.
    """
    positions = max(_POSITIONS, SAMPLE // channels)
    in_each = min(inner, max(_IN_EACH, -(-positions // outer)))
    rows, columns = _odd(outer * in_each // positions), _odd(inner // in_each)
    return slice(rows // 2, None, rows), slice(None), slice(columns // 2, None, columns)


def _odd(number: int) -> int:
    """The largest odd number up to this one; 1 at least."""
    return max(1, number - 1 + number % 2)


def powers(samples: Float32Array, near: Float64Array) -> Float64Array:
    """(samples, 4) mean powers x, x², x³, x⁴ of (samples, n), right to central moments where float32 holds them.

    `near`: (samples,) numbers about the means.
    """
    count = samples.shape[1]
    pivots = near.astype(np.float32)
    away = samples - pivots[:, None]
    square = away * away
    products = ((away, np.ones(count, dtype=np.float32)), (away, away), (away, square), (square, square))
    m1, m2, m3, m4 = (np.vecdot(one, other).astype(np.float64) / count for one, other in products)
    c = pivots.astype(np.float64)
    return np.stack(
        [
            c + m1,
            m2 + c * (2 * m1 + c),
            m3 + c * (3 * m2 + c * (3 * m1 + c)),
            m4 + c * (4 * m3 + c * (6 * m2 + c * (4 * m1 + c))),
        ],
        axis=1,
    )
