"""How many directions each module's output uses."""

from typing import Any

import torch
from torch import Tensor

from gyrostat.probes.base import Need, Probe, Readings
from gyrostat.probes.channels import channel_axis
from gyrostat.probes.network import Network
from gyrostat.spec.probes import RanksProbe


class Ranks(Probe):
    """Effective and stable rank of a sample of each leaf module's first output in a step, as a matrix.

    A row is a sample, a position of a sequence or a pixel; a column is a feature or channel. Both are evenly spread
    over the output, and nothing is subtracted. The decomposition makes the host wait for an accelerator.
    """

    settings_type = RanksProbe
    needs = frozenset({Need.OUTPUTS})

    def __init__(self, settings: Any, network: Network) -> None:
        super().__init__(settings, network)
        self._modules = list(network.leaves.values())
        self.begin()

    def begin(self) -> None:
        """Starts from nothing."""
        self._matrices: dict[int, Tensor] = {}

    def output(self, leaf: int, output: Tensor) -> None:
        """Takes a sample of a module's first output."""
        axis = channel_axis(self._modules[leaf], output)
        if leaf not in self._matrices and axis is not None and output.numel():
            self._matrices[leaf] = sample(output.detach(), axis, self.settings.samples, self.settings.features)

    def after_backward(self) -> Readings:
        """Matrices of one shape are decomposed together."""
        if not self._matrices:
            return {}
        shapes: dict[torch.Size, list[int]] = {}
        for leaf, matrix in self._matrices.items():
            shapes.setdefault(matrix.shape, []).append(leaf)
        order = [leaf for leaves in shapes.values() for leaf in leaves]
        found = [effective_and_stable(torch.stack([self._matrices[leaf] for leaf in each])) for each in shapes.values()]
        self._matrices = {}
        effective, stable = (torch.cat(each).to(self.network.device) for each in zip(*found, strict=True))
        leaves = len(self._modules)
        return {
            "activation.effective_rank": self.network.spread(effective, order, leaves),
            "activation.stable_rank": self.network.spread(stable, order, leaves),
        }


def sample(output: Tensor, axis: int, samples: int, features: int) -> Tensor:
    """(≤ samples, ≤ features) float32 or wider, a copy: evenly spread rows and columns of `output`, features last."""
    columns = output.shape[axis]
    chosen = output.movedim(axis, -1).reshape(-1, columns) if axis == output.ndim - 1 else None
    if chosen is None:  # images: rows are pixels, picked before anything is copied
        rest = [size for at, size in enumerate(output.shape) if at != axis]
        rows = _spread(torch.Size(rest).numel(), samples, output.device)
        places = torch.unravel_index(rows, rest)
        chosen = output.movedim(axis, -1)[places]
    else:
        chosen = chosen[_spread(len(chosen), samples, output.device)]
    chosen = chosen[:, _spread(columns, features, output.device)]
    return chosen if chosen.dtype in (torch.float32, torch.float64) else chosen.float()


def effective_and_stable(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """exp(−Σ p·ln p), p = σ/Σσ, and Σσ²/σ₁² of each of (n, rows, columns); 0 of zeros, NaN where an element is not
    finite.
    """
    largest = matrices.abs().amax((1, 2), keepdim=True)
    usable = largest.isfinite() & (largest > 0)
    # by the matrix's scale, so that squares neither vanish nor overflow
    scaled = torch.where(usable, matrices / torch.where(usable, largest, 1), torch.zeros_like(matrices))
    values = torch.linalg.svdvals(scaled.double() if matrices.device.type != "mps" else scaled)
    total = values.sum(1, keepdim=True)
    entropy = torch.special.entr(values / torch.where(total > 0, total, 1)).sum(1)
    first = values[:, 0].square()
    effective = torch.where(first > 0, entropy.exp(), 0)
    stable = torch.where(first > 0, values.square().sum(1) / torch.where(first > 0, first, 1), 0)
    finite = largest.isfinite().view(-1)
    return torch.where(finite, effective, torch.nan), torch.where(finite, stable, torch.nan)


def _spread(length: int, most: int, device: torch.device) -> Tensor:
    """At most so many of `length` positions, evenly spread."""
    count = min(length, most)
    return torch.arange(count, device=device) * length // count
