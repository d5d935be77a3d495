"""What one read of a module's output tells of all its elements, and of each of its channels."""

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from gyrostat.probes.chunks import look
from gyrostat.probes.moments import KINDS, NARROW, WIDTH, flattened, moments, stacked
from gyrostat.probes.native import kernels

SATURATED = WIDTH
"""Where a row tells how many elements are saturated."""

_COLUMNS = WIDTH + 3
"""Of the kernel's rows."""

Bounds = tuple[float, float]


class Read(NamedTuple):
    """Of one output.

    Attributes:
        row: (WIDTH + 1,) float64 (float32 on Apple's): `Moments`, and the number of saturated elements.
        squares: (C,), as wide: Σx² of each channel; None where there are no channels.
        alive: (C,) bool: whether any element of the channel is not 0.
    """

    row: Tensor
    squares: Tensor | None
    alive: Tensor | None


def read(output: Tensor, axis: int | None, bounds: Bounds | None) -> Read:
    """Reads `output`, floating and not empty: channels along `axis`, saturated at or beyond `bounds`."""
    if axis is not None and output.is_cpu and kernels.library is not None and output.dtype in NARROW:
        return _native(output, axis, bounds, kernels.library)
    if output.is_cpu:
        return _chunked(output, axis, bounds)
    row = stacked([moments(output)], output.device)[0]
    saturated = row.new_zeros(1) if bounds is None else _outside(output, bounds).sum().to(row.dtype).view(1)
    row = torch.cat((row, saturated))
    return Read(row, None, None) if axis is None else Read(row, *_channels(output, axis, row.dtype))


def channel_axis(module: nn.Module, output: Tensor) -> int | None:
    """Which axis of a module's output its units or channels are along; None where it has none.

    The last of linear layers, embeddings and layer norms, the second of convolutions and batch norms. Of anything else
    the second of (N, C) and of images (N, C, H, W), and the last of sequences (N, T, C); unless the module has an
    attribute `channel_axis`, which says.
    """
    told = getattr(module, "channel_axis", None)
    if isinstance(told, int) and -output.ndim <= told < output.ndim:
        return told % output.ndim
    if output.ndim < 2:
        return None
    if isinstance(module, _CHANNELS_LAST):
        return output.ndim - 1
    return 2 if output.ndim == 3 and not isinstance(module, _CHANNELS_SECOND) else 1


def saturation_bounds(module: nn.Module, margin: float) -> Bounds | None:
    """Outputs at or beyond these are saturated: nearer to a bound of the activation than `margin` of its range.

    For hard activations, whose slope is 0 there, that is the bound itself; of ReLU6 the upper one alone, since 0 is
    where it is meant to be off. None of what has no bounds. A module of anybody's says its own: `bounds = (low, high)`.
    """
    if isinstance(module, nn.ReLU6):
        return (-torch.inf, 6.0)
    if isinstance(module, nn.Hardtanh):
        return (module.min_val, module.max_val)
    if isinstance(module, nn.Hardsigmoid):
        return (0.0, 1.0)
    bounds = next((bounds for kind, bounds in _BOUNDS.items() if isinstance(module, kind)), None)
    told = getattr(module, "bounds", None)
    if bounds is None and isinstance(told, tuple) and len(told) == 2 and all(isinstance(b, float) for b in told):
        bounds = told
    if bounds is None:
        return None
    low, high = bounds
    return (low + margin * (high - low), high - margin * (high - low))


def medians(values: Tensor, lengths: Sequence[int]) -> Tensor:
    """Of each of the segments of `values` (n,) the median, the lower one of two; NaN where a value is."""
    library = kernels.library
    if library is None or not values.is_cpu or values.dtype != torch.float64:
        return torch.stack([segment.median() for segment in torch.split(values, list(lengths))])
    found, scratch = values.new_empty(len(lengths)), values.clone()
    counts = (ctypes.c_int64 * len(lengths))(*lengths)
    library.gyrostat_medians(len(lengths), counts, scratch.data_ptr(), found.data_ptr())
    return found


_CHANNELS_LAST = (nn.Linear, nn.Bilinear, nn.Embedding, nn.EmbeddingBag, nn.LayerNorm, nn.RMSNorm)
_CHANNELS_SECOND = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm)
_BOUNDS: dict[type[nn.Module], Bounds] = {nn.Tanh: (-1.0, 1.0), nn.Sigmoid: (0.0, 1.0), nn.Softsign: (-1.0, 1.0)}


def arranged(output: Tensor, axis: int) -> Tensor:
    """(outer, channels, inner), contiguous: as memory holds it where it is dense; channels-last images are rows."""
    if not output.is_contiguous():
        strides: tuple[int, ...] = output.stride()
        order = sorted(range(output.ndim), key=lambda each: -strides[each])
        output, axis = output.permute(order).contiguous(), order.index(axis)
    channels, inner = output.shape[axis], output.shape[axis + 1 :].numel()
    return output.view(-1, channels, inner)


def _chunked(output: Tensor, axis: int | None, bounds: Bounds | None) -> Read:
    """On a CPU without the kernel."""
    values = flattened(output).view(-1, 1, 1) if axis is None else arranged(output, axis)
    found = look(values, bounds)
    row = np.array([*found.powers, found.largest, found.zeros, found.nonfinite, found.outside], dtype=np.float64)
    alive = found.squares != 0
    if axis is not None and not alive.all():  # squares may be too small for float32
        doubtful = (~alive).nonzero().view(-1)
        alive[doubtful] = values.index_select(1, doubtful).abs().amax((0, 2)) > 0
    return Read(torch.from_numpy(row), *((found.squares, alive) if axis is not None else (None, None)))


def _native(output: Tensor, axis: int, bounds: Bounds | None, library: ctypes.CDLL) -> Read:
    values = arranged(output, axis)
    outer, channels, inner = values.shape
    low, high = bounds or (0.0, 0.0)
    row = torch.empty(_COLUMNS + channels, dtype=torch.float64, device="cpu")
    alive = torch.empty(channels, dtype=torch.bool, device="cpu")
    start = row.data_ptr()
    library.gyrostat_channels(
        values.data_ptr(), KINDS[values.dtype], outer, channels, inner, low, high,
        start, start + 8 * _COLUMNS, alive.data_ptr(),
    )  # fmt: skip
    return Read(row[: WIDTH + 1], row[_COLUMNS:], alive)


def _channels(output: Tensor, axis: int, wide: torch.dtype) -> tuple[Tensor, Tensor]:
    others = [each for each in range(output.ndim) if each != axis]
    values = output if output.dtype in (torch.float32, torch.float64) else output.float()
    norms: Tensor = torch.linalg.vector_norm(values, 2, others)
    return norms.to(wide).square(), (values != 0).sum(others) > 0


def _outside(output: Tensor, bounds: Bounds) -> Tensor:
    return (output <= bounds[0]) | (output >= bounds[1])
