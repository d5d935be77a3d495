"""How large the outputs of each module are, and how many of them are zero."""

from typing import Any

import torch
from torch import Tensor

from gyrostat.probes.base import Need, Probe, Readings
from gyrostat.probes.moments import LARGEST, WIDTH, ZEROS, Moments, moments, stacked
from gyrostat.probes.network import Network, index
from gyrostat.spec.probes import ActivationsProbe

_ROWS = 4096
"""Calls whose results are held before they are added up: bounds memory for loops over time steps."""


class Activations(Probe):
    """Mean, root mean square, largest magnitude and share of exact zeros of all that a leaf module put out in a step.

    Several calls of a module, and several micro-batches, count as one output. What a module does in place to another's
    output afterwards does not count: an output is read when it is made.
    """

    settings_type = ActivationsProbe
    needs = frozenset({Need.OUTPUTS})

    def __init__(self, settings: Any, network: Network) -> None:
        super().__init__(settings, network)
        self.begin()

    def begin(self) -> None:
        """Starts from nothing."""
        leaves, device = len(self.network.leaves), self.network.device
        wide = torch.float32 if device.type == "mps" else torch.float64
        self._counts = [0] * leaves
        self._sums = torch.zeros(leaves, WIDTH, dtype=wide, device=device)
        self._largest = torch.zeros(leaves, dtype=wide, device=device)
        self._rows: list[Moments] = []
        self._leaves: list[int] = []

    def output(self, leaf: int, output: Tensor) -> None:
        """Reads one output."""
        if output.numel() == 0:
            return
        self._counts[leaf] += output.numel()
        self._leaves.append(leaf)
        self._rows.append(moments(output))
        if len(self._rows) >= _ROWS:
            self._add_up()

    def after_backward(self) -> Readings:
        """Over all forward passes of the step."""
        self._add_up()
        called = [leaf for leaf, count in enumerate(self._counts) if count]
        if not called:
            return {}
        at = index(called, self.network.device)
        sums, largest = self._sums[at], self._largest[at]
        count = index([self._counts[leaf] for leaf in called], self.network.device).to(largest.dtype)
        values = {
            "activation.mean": sums[:, 0] / count,
            "activation.rms": (sums[:, 1] / count).sqrt(),
            "activation.max_abs": largest,
            "activation.zero_fraction": sums[:, ZEROS] / count,
        }
        return {name: self.network.spread(of_leaf, called, len(self._counts)) for name, of_leaf in values.items()}

    def _add_up(self) -> None:
        if not self._rows:
            return
        rows = stacked(self._rows, self.network.device)
        leaves = index(self._leaves, self.network.device)
        self._sums.index_add_(0, leaves, rows)
        self._largest.scatter_reduce_(0, leaves, rows[:, LARGEST], "amax")
        self._rows, self._leaves = [], []
