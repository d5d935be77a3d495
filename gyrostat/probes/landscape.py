"""The loss on a line or a plane through the weights, along random directions that fit each filter's size.

A filter is what the first axis of a weight numbers: one output channel of a convolution, one row of a linear layer. A
direction is drawn from a normal distribution, and each of its filters brought to the norm of the filter it moves. So 1
is "as far as the weights are long" in every layer, and nets of different scales can be compared. Biases and the scales
of normalization layers stay where they are, as in the authors' own pictures.

Source: Li et al. 2018, arXiv 1712.09913, section 4 (filter-wise normalization).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Landscape:
    """Losses around a point.

    Attributes:
        positions: (P,) multiples of a direction, rising, with the point itself (0) in the middle.
        losses: (P,) along a line; (P, P) on a plane, a row for each multiple of the second direction.
    """

    positions: npt.NDArray[np.float64]
    losses: npt.NDArray[np.float64]


def landscape(
    loss: Callable[[], Tensor], weights: Sequence[Tensor], *, dimensions: int, reach: float, points: int, seed: int
) -> Landscape:
    """`loss` at `points` (odd) multiples, from −`reach` to `reach`, of one random direction or of each pair of two.

    Moves `weights` and puts them back, bit for bit, whatever happens; everything else that `loss` touches is the
    caller's to keep (`undisturbed`). The directions are a function of `seed` and of the weights alone. On a device
    nothing is waited for until all losses are there.
    """
    source = torch.Generator().manual_seed(seed)
    directions = [filter_normalized(weights, source) for _ in range(dimensions)]
    half = points // 2
    positions = reach * np.arange(-half, half + 1) / half
    origin = [weight.detach().clone() for weight in weights]
    losses = []
    try:
        for place in np.stack(np.meshgrid(*[positions] * dimensions), axis=-1).reshape(-1, dimensions):
            _move(weights, origin, directions, place.tolist())
            losses.append(loss().detach().reshape(()))
    finally:
        _move(weights, origin, directions, [0.0] * dimensions)
    found = torch.stack(losses).double().cpu().numpy()
    return Landscape(positions, found.reshape((points,) * dimensions))


def filter_normalized(weights: Sequence[Tensor], source: torch.Generator) -> list[Tensor]:
    """A random direction in the space of `weights` (each of two or more dimensions), d ← d/‖d‖·‖θ‖ filter by filter.

    `source` is on the CPU, so that a seed means the same direction on every device.
    """
    return [_direction(weight.detach(), source) for weight in weights]


def _direction(weight: Tensor, source: torch.Generator) -> Tensor:
    drawn = torch.randn(weight.shape, generator=source).to(
        weight.device, torch.promote_types(weight.dtype, torch.float)
    )
    lengths = _filter_norms(weight.to(drawn.dtype)) / _filter_norms(drawn).clamp_min(torch.finfo(drawn.dtype).tiny)
    return (drawn * lengths).to(weight.dtype)


def _filter_norms(weight: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(weight, dim=tuple(range(1, weight.ndim)), keepdim=True)
    return norms


@torch.no_grad()
def _move(
    weights: Sequence[Tensor], origin: list[Tensor], directions: list[list[Tensor]], multiples: list[float]
) -> None:
    for at, weight in enumerate(weights):
        weight.copy_(origin[at])
        for direction, multiple in zip(directions, multiples, strict=True):
            if multiple:  # adding nothing would still turn −0 into 0
                weight.add_(direction[at], alpha=multiple)
