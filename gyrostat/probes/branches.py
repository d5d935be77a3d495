"""How much residual branches bring in, against the trunk that they are joined with."""

from typing import Any

import torch
from torch import Tensor

from gyrostat.probes.base import Need, Probe, Readings
from gyrostat.probes.network import Network
from gyrostat.probes.norms import norms
from gyrostat.spec.probes import BranchesProbe


class Branches(Probe):
    """rms(branch) / rms(trunk) at every `gyrostat.probes.network.BranchJoin`, over all its calls in a step.

    Both are as they go into the output: a branch after its scale or gate, before stochastic depth drops samples of it.
    """

    settings_type = BranchesProbe
    needs = frozenset({Need.BRANCHES})

    @classmethod
    def concerns(cls, network: Network) -> bool:
        """Models that have some."""
        return bool(network.joins)

    def __init__(self, settings: Any, network: Network) -> None:
        super().__init__(settings, network)
        self.begin()

    def begin(self) -> None:
        """Starts from nothing."""
        self._squares: dict[int, Tensor] = {}
        self._counts: dict[int, tuple[int, int]] = {}

    def joins(self, leaf: int, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Reads what branch and trunk bring into one output."""
        branch, trunk = self.network.joins[leaf].summands(*arguments, **named)  # type: ignore[operator]
        if branch.numel() == 0 or trunk.numel() == 0:
            return
        squares = norms([branch, trunk], branch.device).square()
        self._squares[leaf] = self._squares[leaf] + squares if leaf in self._squares else squares
        before = self._counts.get(leaf, (0, 0))
        self._counts[leaf] = (before[0] + branch.numel(), before[1] + trunk.numel())

    def after_backward(self) -> Readings:
        """Over all forward passes of the step."""
        if not self._squares:
            return {}
        leaves = list(self._squares)
        squares = torch.stack([self._squares[leaf].to(self.network.device) for leaf in leaves])
        share = torch.tensor([self._counts[leaf][1] / self._counts[leaf][0] for leaf in leaves], dtype=squares.dtype)
        ratio = (squares[:, 0] / squares[:, 1] * share.to(squares.device, non_blocking=True)).sqrt()
        return {"activation.branch_to_trunk": self.network.spread(ratio, leaves, len(self.network.leaves))}
