"""Euclidean norms of many tensors in few calls, right over the whole range of floating point."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gyrostat.probes.chunks import SMALL, Float64Array, dot, together
from gyrostat.probes.moments import KINDS, native_magnitudes
from gyrostat.probes.native import kernels

_UNDERFLOW, _OVERFLOW = 1e-15, 1e18
"""Between these, squares of float32 elements neither vanish nor overflow in a way that a norm would show."""


def norms(tensors: Sequence[Tensor], device: torch.device) -> Tensor:
    """‖t‖₂ of each tensor: (n,) float64 on `device` (float32 on Apple's, which has no float64).

    Any mixture of dtypes, devices, sparse and complex tensors. Sums are formed in float32 or better. Gradients of 1e-30
    and activations of 1e30 have norms although their squares are no float32: on a CPU such tensors are summed again in
    float64, on CUDA everything is, since that costs nothing where memory is the limit.
    """
    wide = torch.float32 if device.type == "mps" else torch.float64
    if not tensors:
        return torch.zeros(0, dtype=wide, device=device)
    plain = [_plain(tensor) for tensor in tensors]
    if kernels.library is None and device.type == "cpu" and all(t.is_cpu and t.dtype == torch.float32 for t in plain):
        return torch.from_numpy(host_norms(plain))
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for position, tensor in enumerate(plain):
        groups.setdefault((tensor.device, tensor.dtype), []).append(position)
    found: list[Tensor] = [torch.empty(0)] * len(plain)
    for (place, dtype), positions in groups.items():
        if place.type == "cpu" and kernels.library is not None and dtype in KINDS:
            rows = native_magnitudes([plain[p] for p in positions], kernels.library)
            if len(groups) == 1 and device == place:
                return rows[:, 0]
            for position, of_one in zip(positions, rows[:, 0], strict=True):
                found[position] = of_one.to(device, non_blocking=True)
            continue
        of_group = torch._foreach_norm([plain[p] for p in positions], 2, _accumulator(place, dtype))
        for position, of_one in zip(positions, of_group, strict=True):
            found[position] = of_one if place == device else of_one.to(device, non_blocking=True)
    result = torch.stack([of_one.to(wide) for of_one in found])
    return _rescued(result, plain) if device.type == "cpu" else result


def host_norms(tensors: Sequence[Tensor]) -> Float64Array:
    """‖t‖₂ of float32 tensors on a CPU, without the kernel: (n,)."""
    found = np.zeros(len(tensors))
    for some, elements, starts in together(tensors):
        found[some] = np.sqrt(np.add.reduceat(elements * elements, starts))
    for at, tensor in enumerate(tensors):
        if tensor.numel() > SMALL:
            found[at] = _norm(tensor)
    return found


def _norm(tensor: Tensor) -> float:
    """Numpy's products take half of what torch's norms do."""
    flat = tensor.numpy().reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        found = math.sqrt(dot(flat, flat))
    return _norm_in_float64(tensor) if found < _UNDERFLOW or found > _OVERFLOW else found


def global_norm(each: Tensor) -> Tensor:
    """√Σ n² of the norms (n,) of disjoint parts, 0-dim; without overflow, and 0 of nothing."""
    whole: Tensor = torch.linalg.vector_norm(each)
    return whole


def _accumulator(place: torch.device, dtype: torch.dtype) -> torch.dtype:
    if dtype == torch.float64 or place.type == "cuda":
        return torch.float64
    return torch.float32


def _plain(tensor: Tensor) -> Tensor:
    detached = tensor.detach()
    if detached.is_sparse:
        detached = detached.coalesce().values()
    return torch.view_as_real(detached) if detached.is_complex() else detached


def _rescued(result: Tensor, tensors: Sequence[Tensor]) -> Tensor:
    for position, found in enumerate(result.tolist()):
        if (found < _UNDERFLOW or found > _OVERFLOW) and tensors[position].dtype != torch.float64:
            result[position] = _norm_in_float64(tensors[position])
    return result


def _norm_in_float64(tensor: Tensor) -> float:
    if not tensor.any():  # many gradients are nothing but zeros, and a look is cheaper than the sum
        return 0.0
    parts = torch.split(tensor.reshape(-1), 65_536)
    return math.sqrt(sum(float(torch.dot(part.double(), part.double())) for part in parts))
