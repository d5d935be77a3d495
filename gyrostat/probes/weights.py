"""How large the weights are, and how far each step moves them."""

from typing import Any

import torch
from torch import Tensor

from gyrostat.probes.base import Probe, Readings
from gyrostat.probes.copies import Copies
from gyrostat.probes.network import Network, quotient
from gyrostat.probes.norms import norms
from gyrostat.spec.probes import WeightsProbe


class Weights(Probe):
    """‖w‖₂ after the step, and ‖w_after − w_before‖₂ / ‖w_before‖₂, measured on copies made before the step.

    The ratio is of what really happened: momentum, weight decay, clipping and a skipped step are all in it. It is
    absent for parameters that are frozen or not the optimizer's, and where ‖w_before‖ is 0.
    """

    settings_type = WeightsProbe

    def __init__(self, settings: Any, network: Network) -> None:
        super().__init__(settings, network)
        self._names = {id(parameter): name for name, parameter in network.parameters.items()}
        self._copies = Copies()
        self._before: dict[str, Tensor] = {}

    def begin(self) -> None:
        """Drops the copies of a step that never ended."""
        self._before = {}

    def after_backward(self) -> Readings:
        """Copies the weights while they are still the old ones."""
        self._before = self._copies.of({self._names[id(p)]: p for p in self.network.trained()})
        return {}

    def after_update(self) -> Readings:
        """Norms of the new weights, and of the way from the old ones."""
        network, before = self.network, self._before
        self._before = {}
        parameters = network.parameters
        readings = {"weight.norm": norms(list(parameters.values()), network.device).to(torch.float32)}
        copies = list(before.values())
        old = norms(copies, network.device)
        if copies:
            torch._foreach_sub_(copies, [parameters[name].detach() for name in before])
        ratio = quotient(norms(copies, network.device), old)
        places = [at for at, name in enumerate(parameters) if name in before]
        return readings | {"update.ratio": network.spread(ratio, places, len(parameters))}
