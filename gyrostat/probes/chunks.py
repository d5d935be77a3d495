"""What tensors on a CPU come to where there is no kernel: chunk by chunk, by what torch and numpy do quickly.

Some of their operations run at the speed of the cache (products, sums, `amax`, `np.vecdot`, comparisons), and some at a
fiftieth of it (norms over an axis or of infinite order, `torch.count_nonzero`). These are of the first kind, on chunks
that stay in the cache between them.
"""

import threading
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch._utils import _flatten_dense_tensors

Float64Array = npt.NDArray[np.float64]
FloatArray = npt.NDArray[np.float32] | Float64Array

CHUNK = 262_144
"""Elements looked at together."""

_ROW = 4096
"""Elements that a float32 dot product adds up: more would round what repeats (zeros less a mean) to one side."""

_SMALLEST, _LARGEST = 2.0**-48, 2.0**56
"""Between these squares of its largest magnitude, float32 holds a chunk's fourth powers, and their sum."""

_OFF_CENTRE = 0.1
"""A variance below so much of the mean square costs central moments digits when it is formed of powers of x."""


class _Scratch(threading.local):
    """Memory for what lies between the operations: what is got anew is handed out page by page, which takes longer."""

    def __init__(self) -> None:
        self.squares = torch.empty(CHUNK, dtype=torch.float32, device="cpu")
        self.mask = np.empty(CHUNK, dtype=np.bool_)


_scratch = _Scratch()


class Found(NamedTuple):
    """Of all elements.

    Attributes:
        powers: (4,) Σx, Σx², Σx³, Σx⁴.
        largest: max|x|; NaN where an element is.
        zeros, nonfinite: how many are 0; infinite or NaN.
        outside: how many are at or beyond the bounds.
        squares: (C,) float64: Σx² of each channel, whose elements may be too small for their squares to be float32.
    """

    powers: Float64Array
    largest: float
    zeros: int
    nonfinite: int
    outside: int
    squares: Tensor


def look(values: Tensor, bounds: tuple[float, float] | None = None) -> Found:
    """`values`: (outer, channels, inner), contiguous on a CPU, floating; channels may be 1."""
    sums = _Sums(values.shape[1])
    for channel, piece in _pieces(values):
        part = piece if piece.dtype in (torch.float32, torch.float64) else piece.float()
        sums.add(channel, part, bounds)
    return Found(sums.powers, sums.largest, sums.zeros, sums.nonfinite, sums.outside, torch.from_numpy(sums.squares))


class _Sums:
    def __init__(self, channels: int) -> None:
        self.powers, self.squares = np.zeros(4), np.zeros(channels)
        self.largest = 0.0
        self.zeros = self.nonfinite = self.outside = 0

    def add(self, channel: int, part: Tensor, bounds: tuple[float, float] | None) -> None:
        """A piece (outer, channels, inner) in float32 or float64, whose first channel is this one."""
        flat, shape = part.view(-1), part.shape
        elements = flat.numpy()
        mask = _scratch.mask[: len(elements)]
        self.zeros += int(np.count_nonzero(np.equal(elements, 0, out=mask)))
        if bounds is not None:
            self.outside += int(np.count_nonzero(np.less_equal(elements, bounds[0], out=mask)))
            self.outside += int(np.count_nonzero(np.greater_equal(elements, bounds[1], out=mask)))
        square = (
            torch.mul(flat, flat, out=_scratch.squares[: len(flat)]) if part.dtype == torch.float32 else flat * flat
        )
        peak = square.numpy().max()
        if not _SMALLEST < peak < _LARGEST:
            flat = flat.double()
            square, elements = flat * flat, flat.numpy()
            self.nonfinite += len(elements) - int(np.count_nonzero(np.isfinite(elements)))
            peak = np.square(np.abs(elements).max())
        # the root of a rounded square is the number itself
        magnitude = float(np.sqrt(peak))
        self.largest = magnitude if magnitude != magnitude or magnitude > self.largest else self.largest
        table = square.view(shape[0], -1) if shape[2] == 1 else square.view(shape).sum(2)
        of_channels = table.sum(0).numpy()
        self.squares[channel : channel + len(of_channels)] += of_channels
        with np.errstate(invalid="ignore", over="ignore"):
            self.powers += _powers(flat, square, float(of_channels.sum(dtype=np.float64)))


def _pieces(values: Tensor) -> Iterator[tuple[int, Tensor]]:
    """First channels, and contiguous chunks."""
    _, channels, inner = values.shape
    if values.numel() <= CHUNK:
        yield 0, values
        return
    together = max(1, CHUNK // max(1, inner))
    for rows in torch.split(values, max(1, CHUNK // max(1, channels * inner))):
        for channel in range(0, channels, together):
            for part in torch.split(rows[:, channel : channel + together], CHUNK, dim=2):
                yield channel, part


def _powers(flat: Tensor, square: Tensor, squares: float) -> Float64Array:
    count, total = len(flat), flat.sum().item()
    if squares * count - total * total < _OFF_CENTRE * squares * count:
        return _shifted(flat, total / count)
    one, other = flat.numpy(), square.numpy()
    return np.array([total, squares, dot(one, other), dot(other, other)])


def _shifted(flat: Tensor, pivot: float) -> Float64Array:
    """Through the powers of x − pivot."""
    away = flat - pivot
    square = away * away
    n, c = len(flat), pivot
    d1, d2 = away.sum().item(), square.sum().item()
    d3, d4 = dot(away.numpy(), square.numpy()), dot(square.numpy(), square.numpy())
    return np.array(
        [
            d1 + n * c,
            d2 + c * (2 * d1 + n * c),
            d3 + c * (3 * d2 + c * (3 * d1 + n * c)),
            d4 + c * (4 * d3 + c * (6 * d2 + c * (4 * d1 + n * c))),
        ]
    )


def dot(one: FloatArray, other: FloatArray) -> float:
    """Inner product of vectors, added up in float64 but within `_ROW` elements."""
    if not (left_over := len(one) % _ROW):
        return float(np.vecdot(one.reshape(-1, _ROW), other.reshape(-1, _ROW)).sum(dtype=np.float64))
    if left_over == len(one):
        return float(np.dot(one, other))
    return dot(one[:-left_over], other[:-left_over]) + float(np.dot(one[-left_over:], other[-left_over:]))


SMALL = 4096
"""Elements of a tensor that is looked at together with others."""


def together(tensors: Sequence[Tensor]) -> Iterator[tuple[list[int], Float64Array, npt.NDArray[np.intp]]]:
    """Of the tensors on a CPU that are small and not empty, some at a time: which, all their elements, and where each
    begins among these, as numpy's `reduceat` takes it. Small operations cost more than what they compute.
    """
    small = [at for at, tensor in enumerate(tensors) if 0 < tensor.numel() <= SMALL]
    for first in range(0, len(small), CHUNK // SMALL):
        some = small[first : first + CHUNK // SMALL]
        flat: Tensor = _flatten_dense_tensors([tensors[at].detach() for at in some])  # type: ignore[no-untyped-call]
        elements = flat.double().numpy()
        yield some, elements, _starts(tuple([tensors[at].numel() for at in some]))


@lru_cache
def _starts(lengths: tuple[int, ...]) -> npt.NDArray[np.intp]:
    return np.concatenate(([0], np.cumsum(lengths[:-1], dtype=np.intp)))
