"""Power sums, largest magnitude, and number of zeros and of non-finite elements of tensors, in one pass over memory."""

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gyrostat.probes.chunks import look
from gyrostat.probes.native import kernels

_DEVICE_CHUNK = 1 << 22
"""Elements of an accelerator's tensor looked at together: bounds the memory of what lies between the operations."""

KINDS = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
"""As the kernels number them."""

NARROW = (torch.float32, torch.bfloat16, torch.float16)
"""Those that kernels read as float32."""


class Moments(NamedTuple):
    """Of all elements of a tensor: Python floats from a CPU, 0-dim tensors (not waited for) from other devices."""

    total: float | Tensor
    squares: float | Tensor
    cubes: float | Tensor
    fourths: float | Tensor
    largest: float | Tensor
    zeros: float | Tensor
    nonfinite: float | Tensor


WIDTH = len(Moments._fields)
SQUARES, LARGEST, ZEROS, NONFINITE = map(Moments._fields.index, ("squares", "largest", "zeros", "nonfinite"))


def moments(tensor: Tensor) -> Moments:
    """Σx, Σx², Σx³, Σx⁴, max|x|, the number of x = 0 and of x that are not finite, over all elements.

    Where an element is NaN, so are the sums and the largest magnitude. `tensor` is floating, of any strides, not empty.
    Powers are taken of differences from a mean near by and put together in float64, so that central moments may be
    formed of them: to 1e-5 where the mean is no more than 100 standard deviations away from 0.
    """
    flat = flattened(tensor)
    if tensor.device.type != "cpu":
        return fused_moments(flat)
    if kernels.library is not None and flat.dtype in KINDS:
        (row,) = native_moments([flat], kernels.library).tolist()
        return Moments(*row)
    return chunked_moments(flat)


def native_moments(flats: Sequence[Tensor], library: ctypes.CDLL) -> Tensor:
    """(n, WIDTH) float64 of contiguous tensors on a CPU, by the kernel."""
    rows = torch.empty(len(flats), WIDTH, dtype=torch.float64, device="cpu")
    library.gyrostat_moments(*addressed(flats), formats(flats), rows.data_ptr())
    return rows


def native_magnitudes(tensors: Sequence[Tensor], library: ctypes.CDLL) -> Tensor:
    """(n, 4) float64 of tensors on a CPU: ‖x‖, max|x|, numbers of zeros and of elements that are not finite."""
    flats = [tensor if tensor.is_contiguous() else flattened(tensor) for tensor in tensors]
    rows = torch.empty(len(tensors), 4, dtype=torch.float64, device="cpu")
    library.gyrostat_magnitudes(*addressed(flats), formats(flats), rows.data_ptr())
    return rows


def addressed(tensors: Sequence[Tensor]) -> tuple[int, Any, Any]:
    """How many there are, where they lie, and how many elements each has, as kernels take it."""
    count = len(tensors)
    addresses = (ctypes.c_void_p * count)(*[tensor.data_ptr() for tensor in tensors])
    return count, addresses, (ctypes.c_int64 * count)(*[tensor.numel() for tensor in tensors])


def formats(tensors: Sequence[Tensor]) -> Any:
    """Their number formats, as kernels take them."""
    return (ctypes.c_int32 * len(tensors))(*[KINDS[tensor.dtype] for tensor in tensors])


def chunked_moments(flat: Tensor) -> Moments:
    """For a CPU without the kernel."""
    found = look(flat.view(-1, 1, 1))
    total, squares, cubes, fourths = found.powers.tolist()
    return Moments(total, squares, cubes, fourths, found.largest, float(found.zeros), float(found.nonfinite))


def fused_moments(flat: Tensor) -> Moments:
    """For accelerators: reductions over large chunks in float64 (Apple's have float32), results left on the device."""
    wide = torch.float32 if flat.device.type == "mps" else torch.float64
    parts = [_device_moments(part.to(wide)) for part in torch.split(flat, _DEVICE_CHUNK)]
    if len(parts) == 1:
        return Moments(*parts[0])
    rows = torch.stack([torch.stack(part) for part in parts])
    whole = rows.sum(0)
    whole[LARGEST] = rows[:, LARGEST].amax()
    return Moments(*whole.unbind())


def _device_moments(x: Tensor) -> list[Tensor]:
    square = x * x
    low, high = torch.aminmax(x)
    zeros, nonfinite = (x == 0).sum(), x.isfinite().logical_not_().sum()
    found = [x.sum(), square.sum(), torch.dot(square, x), torch.dot(square, square), torch.maximum(-low, high)]
    return [*found, zeros.to(x.dtype), nonfinite.to(x.dtype)]


def stacked(rows: Sequence[Moments], device: torch.device) -> Tensor:
    """(len(rows), WIDTH) on `device`, float64 where it has that."""
    wide = torch.float32 if device.type == "mps" else torch.float64
    values = [value for row in rows for value in row]
    if device.type == "cpu" and not any(isinstance(value, Tensor) for value in values):
        return torch.tensor(values, dtype=wide, device=device).view(-1, WIDTH)
    placed = [torch.as_tensor(value).to(device, wide, non_blocking=True) for value in values]
    return torch.stack(placed).view(-1, WIDTH)


def flattened(tensor: Tensor) -> Tensor:
    """All elements, in any order: without a copy where memory holds them densely, as after a transpose."""
    if tensor.is_contiguous():
        return tensor.view(-1)  # an expanded scalar would stay a view of one element
    strides: tuple[int, ...] = tensor.stride()
    return tensor.permute(sorted(range(tensor.ndim), key=lambda axis: -strides[axis])).reshape(-1).contiguous()
