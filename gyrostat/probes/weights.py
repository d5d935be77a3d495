"""How large the weights are, and how far each step moves them."""

from typing import Any

import torch

from gyrostat.probes.base import Probe, Readings
from gyrostat.probes.network import Network, index, quotient
from gyrostat.probes.norms import norms
from gyrostat.probes.trail import Trail
from gyrostat.spec.probes import WeightsProbe


class Weights(Probe):
    """‖w‖₂ after the step, and ‖w_after − w_before‖₂ / ‖w_before‖₂, measured on copies made before the step.

    The ratio is of what really happened: momentum, weight decay, clipping and a skipped step are all in it. It is
    absent for parameters that are frozen or not the optimizer's, and where ‖w_before‖ is 0.
    """

    settings_type = WeightsProbe

    def __init__(self, settings: Any, network: Network) -> None:
        super().__init__(settings, network)
        self._places = {id(parameter): at for at, parameter in enumerate(network.parameters.values())}
        self._names = list(network.parameters)
        self._trail = Trail(network.device)
        self._trained: list[int] = []

    def begin(self) -> None:
        """Forgets a step that never ended."""
        self._trail.begin(unfinished=bool(self._trained))
        self._trained = []

    def after_backward(self) -> Readings:
        """Notes where the weights are before the step."""
        trained = self.network.trained()
        self._trained = [self._places[id(parameter)] for parameter in trained]
        self._trail.mark({self._names[at]: p for at, p in zip(self._trained, trained, strict=True)})
        return {}

    def after_update(self) -> Readings:
        """Norms of the new weights, and of the way from the old ones."""
        network, trained, length = self.network, self._trained, len(self._names)
        self._trained = []
        way = self._trail.way(network.parameters)
        sizes, ratio = way.now, quotient(way.moved, way.before)
        if trained != list(range(length)):
            parameters = list(network.parameters.values())
            others = sorted(set(range(length)).difference(trained))
            sizes = way.now.new_empty(length)
            sizes[index(others, network.device)] = norms([parameters[at] for at in others], network.device)
            sizes[index(trained, network.device)] = way.now
            ratio = network.spread(ratio, trained, length)
        network.sizes.note(sizes, lambda: self._trail.holds(network.parameters))
        return {"weight.norm": sizes.to(torch.float32), "update.ratio": ratio}
