"""How large the gradients are that reach each module's output."""

from typing import Any

import torch
from torch import Tensor

from gyrostat.probes.base import Need, Probe, Readings
from gyrostat.probes.moments import moments
from gyrostat.probes.network import Network, index
from gyrostat.spec.probes import SignalsProbe

_ROWS = 4096
_UNDERFLOW, _OVERFLOW = 1e-15, 1e18
"""Norms between these are right in float32; others are formed again from float64 sums."""


class Signals(Probe):
    """Root mean square of ∂loss/∂output over all outputs of a leaf module in a step.

    Several calls, and several micro-batches, count as one output. The gradient is with respect to the output as it was
    when the module returned it, whatever is done to it in place afterwards.
    """

    settings_type = SignalsProbe
    needs = frozenset({Need.SIGNALS})

    def __init__(self, settings: Any, network: Network) -> None:
        super().__init__(settings, network)
        self.begin()

    def begin(self) -> None:
        """Starts from nothing."""
        leaves, device = len(self.network.leaves), self.network.device
        wide = torch.float32 if device.type == "mps" else torch.float64
        self._counts = [0] * leaves
        self._squares = torch.zeros(leaves, dtype=wide, device=device)
        self._rows: list[Tensor] = []
        self._leaves: list[int] = []

    def signal(self, leaf: int, gradient: Tensor) -> None:
        """Reads one gradient."""
        if gradient.numel() == 0:
            return
        self._counts[leaf] += gradient.numel()
        self._leaves.append(leaf)
        self._rows.append(_squares(gradient))
        if len(self._rows) >= _ROWS:
            self._add_up()

    def after_backward(self) -> Readings:
        """Of all backward passes of the step, of the whole batch's mean loss."""
        self._add_up()
        reached = [leaf for leaf, count in enumerate(self._counts) if count]
        if not reached:
            return {}
        device = self.network.device
        count = index([self._counts[leaf] for leaf in reached], device).to(self._squares.dtype)
        rms = (self._squares[index(reached, device)] / count).sqrt() / self.network.signal_scale()
        return {"activation.gradient_rms": self.network.spread(rms, reached, len(self._counts))}

    def _add_up(self) -> None:
        if self._rows:
            device = self.network.device
            found = torch.stack([row.to(device, self._squares.dtype, non_blocking=True) for row in self._rows])
            self._squares.index_add_(0, index(self._leaves, device), found)
        self._rows, self._leaves = [], []


def _squares(gradient: Tensor) -> Tensor:
    """Σg², 0-dim, in float32 or wider."""
    narrow = gradient.dtype not in (torch.float32, torch.float64)
    if not gradient.is_cpu:
        wide = torch.float32 if gradient.device.type == "mps" else torch.float64
        there: Tensor = torch.linalg.vector_norm(gradient, dtype=wide).square()
        return there
    norm: Tensor = torch.linalg.vector_norm(gradient, dtype=torch.float32 if narrow else None)
    if _UNDERFLOW < norm.item() < _OVERFLOW or gradient.dtype == torch.float64:
        return norm.double().square()
    return torch.tensor(moments(gradient).squares, dtype=torch.float64)
