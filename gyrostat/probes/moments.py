"""Sum, sum of squares, largest magnitude and number of zeros of a tensor, in few passes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_CHUNK = 131_072
"""Elements looked at together on a CPU: they stay in its cache between the operations, so memory is read once."""

_UNDERFLOW, _OVERFLOW = 1e-30, 1e35
"""Sums of squares outside of this are formed again in float64."""


class Moments(NamedTuple):
    """Of all elements of a tensor: Python floats from a CPU, 0-dim tensors (not waited for) from other devices."""

    total: float | Tensor
    squares: float | Tensor
    largest: float | Tensor
    zeros: float | Tensor


def moments(tensor: Tensor) -> Moments:
    """Σx, Σx², max|x| and the number of x = 0 over all elements; NaN where an element is, in all but the zeros.

    `tensor` is floating, of any strides, not empty. Sums are formed in float32 or better.
    """
    flat = _flat(tensor)
    return chunked_moments(flat) if tensor.device.type == "cpu" else fused_moments(flat)


def chunked_moments(flat: Tensor) -> Moments:
    """For a CPU: chunk by chunk, in Python floats; numpy counts zeros ten times faster than torch does."""
    total, squares, zeros = 0.0, 0.0, 0
    peaks: list[float] = []
    is_zero = np.empty(min(_CHUNK, len(flat)), dtype=np.bool_)
    for raw in torch.split(flat, _CHUNK):
        part = raw if raw.dtype in (torch.float32, torch.float64) else raw.float()
        low, high = part.amin().item(), part.amax().item()
        square = torch.dot(part, part).item()
        if not _UNDERFLOW < square < _OVERFLOW and part.dtype == torch.float32:
            square = torch.dot(part.double(), part.double()).item()
        total += part.sum().item()
        squares += square
        peaks += [-low, high]
        if not (low > 0 or high < 0):
            mask = is_zero[: len(part)]
            zeros += int(np.count_nonzero(np.equal(part.numpy(), 0, out=mask)))
    # Python's max drops NaN, and a NaN in `low` is one in `total` and `squares` as well
    return Moments(total, squares, max(peaks) if squares == squares else squares, float(zeros))


def fused_moments(flat: Tensor) -> Moments:
    """For accelerators: whole-tensor reductions, results left on the device."""
    wide = flat if flat.dtype == torch.float64 else flat.float()
    low, high = torch.aminmax(wide)
    return Moments(wide.sum(), torch.dot(wide, wide), torch.maximum(-low, high), (wide == 0).sum())


def stacked(rows: Sequence[Moments], device: torch.device) -> Tensor:
    """(len(rows), 4) on `device`, float64 where it has that."""
    wide = torch.float32 if device.type == "mps" else torch.float64
    values = [value for row in rows for value in row]
    if device.type == "cpu" and not any(isinstance(value, Tensor) for value in values):
        return torch.tensor(values, dtype=wide).view(-1, 4)
    placed = [torch.as_tensor(value).to(device, wide, non_blocking=True) for value in values]
    return torch.stack(placed).view(-1, 4)


def _flat(tensor: Tensor) -> Tensor:
    """All elements, in any order: without a copy where memory holds them densely, as after a transpose."""
    if not tensor.is_contiguous():
        strides: tuple[int, ...] = tensor.stride()
        tensor = tensor.permute(sorted(range(tensor.ndim), key=lambda axis: -strides[axis]))
    return tensor.reshape(-1)
