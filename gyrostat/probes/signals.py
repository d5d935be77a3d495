"""How large the gradients are that reach each module's output."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gyrostat.probes.base import Need, Probe, Readings
from gyrostat.probes.moments import KINDS, NARROW, flattened, moments
from gyrostat.probes.native import kernels
from gyrostat.probes.network import Network, absent, index
from gyrostat.spec.probes import SignalsProbe
from gyrostat.wire.values import Float32Array

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
        leaves = len(self.network.leaves)
        self._counts, self._host = [0] * leaves, [0.0] * leaves
        self._there: Tensor | None = None
        self._rows: list[Tensor] = []
        self._leaves: list[int] = []

    def signal(self, leaf: int, gradient: Tensor) -> None:
        """Reads one gradient."""
        if (count := gradient.numel()) == 0:
            return
        self._counts[leaf] += count
        if gradient.is_cpu:
            self._host[leaf] += _squares(gradient)
            return
        wide = torch.float32 if gradient.device.type == "mps" else torch.float64
        self._leaves.append(leaf)
        self._rows.append(torch.linalg.vector_norm(gradient, dtype=wide).square())
        if len(self._rows) >= _ROWS:
            self._add_up()

    def after_backward(self) -> Readings:
        """Of all backward passes of the step, of the whole batch's mean loss."""
        self._add_up()
        reached = [leaf for leaf, count in enumerate(self._counts) if count]
        if not reached:
            return {}
        device, scale = self.network.device, self.network.signal_scale()
        if device.type == "cpu" and self._there is None:
            # a loss scale that was halved once too often is 0
            return {"activation.gradient_rms": self._of_host(reached, float(scale) or math.nan)}
        wide = torch.float32 if device.type == "mps" else torch.float64
        squares = torch.tensor([self._host[leaf] for leaf in reached], dtype=wide)
        counts = torch.tensor([self._counts[leaf] for leaf in reached], dtype=wide)
        mean = (squares / counts).to(device, non_blocking=True)
        if self._there is not None:
            mean = mean + self._there[index(reached, device)] / counts.to(device, non_blocking=True)
        return {"activation.gradient_rms": self.network.spread(mean.sqrt() / scale, reached, len(self._counts))}

    def _of_host(self, reached: list[int], scale: float) -> Float32Array:
        """In plain numbers: so soon after a backward pass a handful of torch's operations takes as long as all else."""
        values: Float32Array = absent(len(self._counts), self.network.device).numpy()
        with np.errstate(over="ignore"):
            values[reached] = [math.sqrt(self._host[leaf] / self._counts[leaf]) / scale for leaf in reached]
        return values

    def _add_up(self) -> None:
        if not self._rows:
            return
        device = self.network.device
        wide = torch.float32 if device.type == "mps" else torch.float64
        if self._there is None:
            self._there = torch.zeros(len(self._counts), dtype=wide, device=device)
        found = torch.stack([row.to(device, wide, non_blocking=True) for row in self._rows])
        self._there.index_add_(0, index(self._leaves, device), found)
        self._rows, self._leaves = [], []


def _squares(gradient: Tensor) -> float:
    """Σg² of a tensor on a CPU, in float32 or wider."""
    library = kernels.library
    narrow = gradient.dtype in NARROW
    if library is not None and narrow:
        dense = flattened(gradient)
        found: float = library.gyrostat_squares(dense.data_ptr(), dense.numel(), KINDS[dense.dtype])
        return found
    norm: float = torch.linalg.vector_norm(gradient, dtype=torch.float32 if narrow else None).item()
    if _UNDERFLOW < norm < _OVERFLOW or not narrow:
        return norm * norm
    return float(moments(gradient).squares)
