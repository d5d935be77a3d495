"""Norm, largest magnitude, zeros and non-finite elements of many tensors, each read once where that is possible."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gyrostat.probes.chunks import CHUNK, SMALL, Float64Array, FloatArray, dot, together
from gyrostat.probes.moments import KINDS, native_magnitudes
from gyrostat.probes.native import kernels
from gyrostat.probes.network import index
from gyrostat.probes.norms import norms

_SMALLEST, _LARGEST = 2.0**-50, 2.0**50
"""Between these magnitudes, float32 holds squares, and sums of them."""

WHOLE, SAMPLE = 32_768, 8192
"""Without the kernel, zeros are counted among about `SAMPLE` elements of a tensor of more than `WHOLE`."""


class Magnitudes(NamedTuple):
    """Of n tensors, each (n,) on one device, in float64 where it has that.

    Attributes:
        norms: ‖t‖₂.
        largest: max|t|; NaN where an element is.
        zero_fraction: exact zeros over all elements, those that a sparse tensor does not store included.
        nonfinite: how many elements are infinite or NaN.
    """

    norms: Tensor
    largest: Tensor
    zero_fraction: Tensor
    nonfinite: Tensor


def magnitudes(tensors: Sequence[Tensor], device: torch.device) -> Magnitudes:
    """Any mixture of dtypes, devices, sparse and complex tensors, on `device`; an accelerator is not waited for."""
    if device.type == "cpu" and all(map(at_hand, tensors)):  # nearly always
        return _on_host(_host_rows(tensors), [tensor.numel() for tensor in tensors])
    stored = [_stored(tensor) for tensor in tensors]
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for position, tensor in enumerate(stored):
        groups.setdefault((tensor.device, tensor.dtype), []).append(position)
    wide = torch.float32 if device.type == "mps" else torch.float64
    if len(groups) == 1 and stored[0].device == device:
        table = _rows(stored).to(wide)
    else:
        table = torch.zeros(len(stored), 4, dtype=wide, device=device)
        for positions in groups.values():
            found = _rows([stored[position] for position in positions])
            table[index(positions, device)] = found.to(device, wide, non_blocking=True)
    sizes = index([max(1, tensor.numel()) for tensor in tensors], device)
    zeros = table[:, 2]
    if left_out := [whole.numel() - part.numel() for whole, part in zip(tensors, stored, strict=True)]:
        zeros = zeros + index(left_out, device) if any(left_out) else zeros
    return Magnitudes(table[:, 0], table[:, 1], zeros / sizes, table[:, 3])


def at_hand(tensor: Tensor) -> bool:
    """Whether memory holds it as it is."""
    return tensor.is_cpu and tensor.dtype in KINDS and tensor.layout == torch.strided and tensor.is_contiguous()


def _on_host(rows: Tensor, sizes: list[int]) -> Magnitudes:
    table = rows.numpy()
    fractions = table[:, 2] / np.maximum(sizes, 1)
    return Magnitudes(rows[:, 0], rows[:, 1], torch.from_numpy(fractions), rows[:, 3])


def _stored(tensor: Tensor) -> Tensor:
    """The real numbers to look at: of sparse tensors what they store, of complex ones magnitudes."""
    if tensor.layout == torch.strided and not tensor.is_complex():
        return tensor
    detached = tensor.detach()
    if detached.is_sparse:
        detached = detached.coalesce().values()
    return detached.abs() if detached.is_complex() else detached


def _rows(group: list[Tensor]) -> Tensor:
    """(n, 4) for tensors of one dtype on one device."""
    return _host_rows(group) if group[0].is_cpu else _foreach_rows(group)


def _host_rows(group: Sequence[Tensor]) -> Tensor:
    """(n, 4) float64 of tensors on a CPU."""
    if kernels.library is not None and all(tensor.dtype in KINDS for tensor in group):
        return native_magnitudes(group, kernels.library)
    rows = np.zeros((len(group), 4))
    for some, elements, starts in together(group):
        rows[some] = _rows_together(elements, starts)
    if large := [at for at, tensor in enumerate(group) if tensor.numel() > SMALL]:
        rows[large] = _large_rows([group[at].detach().reshape(-1) for at in large])
    return torch.from_numpy(rows)


def _rows_together(elements: Float64Array, starts: npt.NDArray[np.intp]) -> Float64Array:
    """Of the tensors that begin at these places among the elements."""
    rows = np.zeros((len(starts), 4))
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.add.reduceat(elements * elements, starts)
        rows[:, 0] = np.sqrt(squares)
        rows[:, 1] = np.maximum.reduceat(np.abs(elements), starts)
    rows[:, 2] = np.add.reduceat(elements == 0, starts, dtype=np.float64)
    if not math.isfinite(squares.sum()):
        rows[:, 3] = np.add.reduceat(~np.isfinite(elements), starts, dtype=np.float64)
    return rows


@np.errstate(over="ignore", invalid="ignore")
def _large_rows(flats: Sequence[Tensor]) -> Float64Array:
    """Norm, largest magnitude, zeros and non-finite elements of each: part by part, which stay in the cache."""
    owners = [(at, part) for at, flat in enumerate(flats) for part in _parts(flat)]
    found = np.zeros((len(owners), 4))
    for row, (at, part) in zip(found, owners, strict=True):
        low, high = torch.aminmax(part)
        elements = part.numpy()
        row[:3] = dot(elements, elements), max(-low.item(), high.item()), _zeros(elements, len(flats[at]))
    peaks = found[:, 1]
    for at in np.flatnonzero((peaks != 0) & ~((peaks > _SMALLEST) & (peaks < _LARGEST))).tolist():  # NaN is neither
        wide = owners[at][1].double().numpy()
        found[at, 0] = np.dot(wide, wide)
        found[at, 3] = len(wide) - np.count_nonzero(np.isfinite(wide))
    rows = np.zeros((len(flats), 4))
    whose = [at for at, _ in owners]
    np.maximum.at(rows[:, 1], whose, peaks)
    for column in (0, 2, 3):
        np.add.at(rows[:, column], whose, found[:, column])
    rows[:, 0] = np.sqrt(rows[:, 0])
    return rows


def _parts(flat: Tensor) -> Iterator[Tensor]:
    """As numpy takes them."""
    parts = (flat,) if len(flat) <= CHUNK else torch.split(flat, CHUNK)
    yield from parts if flat.dtype in (torch.float32, torch.float64) else (part.float() for part in parts)


def _zeros(elements: FloatArray, whole: int) -> float:
    """How many elements are 0, of a part of a tensor that has so many: counted in a sample where that is large."""
    stride = 1 if whole <= WHOLE else max(1, whole // SAMPLE - 1 | 1)
    looked_at = elements[min(stride // 2, len(elements) - 1) :: stride]
    return len(elements) / len(looked_at) * np.count_nonzero(looked_at == 0)


def _foreach_rows(group: list[Tensor]) -> Tensor:
    """(n, 4) for tensors of one dtype on an accelerator, in few kernels; counts are norms of order 0, in float32."""
    place, least = group[0].device, torch.float32 if group[0].dtype.itemsize < 4 else None
    size = index([tensor.numel() for tensor in group], place)
    nonzero = torch.stack(torch._foreach_norm(group, 0, least)).to(torch.float64)
    # x − x is 0 of what is finite, and a NaN of what is not
    nonfinite = torch.stack(torch._foreach_norm(torch._foreach_sub(group, group), 0, least)).to(torch.float64)
    largest = torch.stack(torch._foreach_norm(group, math.inf)).to(torch.float64)
    return torch.stack([norms(group, place), largest, size - nonzero, nonfinite], dim=1)
