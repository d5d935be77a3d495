"""How far the weights are from where they began."""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gyrostat.probes.base import Probe, Readings
from gyrostat.probes.network import Network, absent
from gyrostat.probes.norms import norms
from gyrostat.spec.probes import DistanceProbe


class Distance(Probe):
    """‖w − w₀‖₂ / ‖w₀‖₂ of each parameter, w₀ its value when this probe was made.

    Checkpoints do not hold w₀, which would make each of them larger by the whole model: a training that is resumed
    draws its weights again before it takes up those of the checkpoint, so w₀ is at hand. They hold a fingerprint of it,
    and a parameter whose w₀ is not the one that the state tells of has no distance any more.

    Memory: the parameters once more, and twice while it measures.
    """

    settings_type = DistanceProbe

    def __init__(self, settings: Any, network: Network) -> None:
        super().__init__(settings, network)
        self._start = {name: p.detach().clone() for name, p in network.parameters.items()}

    def after_update(self) -> Readings:
        """Of the new weights."""
        network, names = self.network, list(self.network.parameters)
        known = [at for at, name in enumerate(names) if name in self._start]
        starts = [self._start[names[at]] for at in known]
        sizes = norms(starts, network.device)
        ways = [network.parameters[names[at]].detach() - start for at, start in zip(known, starts, strict=True)]
        ratio = (norms(ways, network.device) / sizes).to(torch.float32)
        ratio = torch.where(sizes == 0, absent(len(known), network.device), ratio)
        return {"weight.distance_from_init": network.spread(ratio, known, len(names))}

    def state_dict(self) -> dict[str, Any]:
        """A fingerprint of the initial weights, at most four numbers a parameter."""
        return {"start": self._fingerprints}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Forgets the initial weights that the state does not tell of, or tells otherwise."""
        told, own = state.get("start", {}), self._fingerprints
        self._start = {
            name: start
            for name, start in self._start.items()
            if name in told and torch.equal(told[name].to(own[name]), own[name])
        }

    def take_over(self, state: dict[str, Any]) -> list[str]:
        """A fork is followed from its parent's start, where it has drawn the same."""
        self.load_state_dict(state)
        unknown = len(self._fingerprints) - len(self._start)
        return [f"the distance of {unknown} parameters from the parent's initial weights is not known"] * (unknown > 0)

    @cached_property
    def _fingerprints(self) -> dict[str, Tensor]:
        return {name: _fingerprint(start) for name, start in self._start.items()}


def _fingerprint(tensor: Tensor) -> Tensor:
    """Some of its elements, from its first to its last: float64, on the host."""
    flat = tensor.flatten()
    places = sorted({0, len(flat) // 3, len(flat) // 2, len(flat) - 1}) if len(flat) else []
    return flat[places].double().cpu()
