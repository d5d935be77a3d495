"""Norm, largest magnitude, zeros and non-finite elements of many tensors, each read once where that is possible."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gyrostat.probes.moments import KINDS, native_magnitudes
from gyrostat.probes.native import kernels
from gyrostat.probes.network import index
from gyrostat.probes.norms import norms

_CHUNK = 65_536
"""Elements looked at together on a CPU: they stay in its cache between the operations."""


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
    stored = [_stored(tensor) for tensor in tensors]
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for position, tensor in enumerate(stored):
        groups.setdefault((tensor.device, tensor.dtype), []).append(position)
    wide = torch.float32 if device.type == "mps" else torch.float64
    if len(groups) == 1 and stored[0].device == device:  # nearly always
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


def _host_rows(group: list[Tensor]) -> Tensor:
    """(n, 4) for tensors of one dtype on a CPU."""
    place = group[0].device
    if kernels.library is not None and group[0].dtype in KINDS:
        return native_magnitudes(group, kernels.library)
    others = torch.tensor([_chunked_row(tensor.reshape(-1)) for tensor in group], dtype=torch.float64)
    return torch.cat([norms(group, place).unsqueeze(1), others], dim=1)


def _chunked_row(flat: Tensor) -> tuple[float, float, float]:
    """Largest magnitude, zeros and non-finite elements, chunk by chunk; numpy counts ten times faster than torch."""
    zeros, nonfinite = 0, 0
    peaks = [0.0]
    for raw in torch.split(flat, _CHUNK) if len(flat) else ():
        part = raw if raw.dtype in (torch.float32, torch.float64) else raw.float()
        low, high = part.amin().item(), part.amax().item()
        peaks += [-low, high]
        if not (low > 0 or high < 0):
            zeros += int(np.count_nonzero(np.equal(part.numpy(), 0)))
        if not -math.inf < low <= high < math.inf:
            nonfinite += len(part) - int(np.count_nonzero(np.isfinite(part.numpy())))
    # Python's max drops NaN, but for a first one
    largest = math.nan if any(peak != peak for peak in peaks) else max(peaks)
    return largest, float(zeros), float(nonfinite)


def _foreach_rows(group: list[Tensor]) -> Tensor:
    """(n, 4) for tensors of one dtype on an accelerator, in few kernels; counts are norms of order 0, in float32."""
    place, least = group[0].device, torch.float32 if group[0].dtype.itemsize < 4 else None
    size = index([tensor.numel() for tensor in group], place)
    nonzero = torch.stack(torch._foreach_norm(group, 0, least)).to(torch.float64)
    # x − x is 0 of what is finite, and a NaN of what is not
    nonfinite = torch.stack(torch._foreach_norm(torch._foreach_sub(group, group), 0, least)).to(torch.float64)
    largest = torch.stack(torch._foreach_norm(group, math.inf)).to(torch.float64)
    return torch.stack([norms(group, place), largest, size - nonzero, nonfinite], dim=1)
