"""How large the weights are, and how far each step moves them."""

from typing import Any

import torch
from torch import Tensor, nn

from gyrostat.probes.base import Probe, Readings
from gyrostat.probes.network import Network, absent
from gyrostat.probes.norms import norms
from gyrostat.spec.probes import WeightsProbe


class Weights(Probe):
    """‖w‖₂ after the step, and ‖w_after − w_before‖₂ / ‖w_before‖₂, measured on copies made before the step.

    The ratio is of what really happened: momentum, weight decay, clipping and a skipped step are all in it. It is
    absent for parameters that are frozen or not the optimizer's, and where ‖w_before‖ is 0. The copies live for the
    step only.
    """

    settings_type = WeightsProbe

    def __init__(self, settings: Any, network: Network) -> None:
        super().__init__(settings, network)
        self._before: list[tuple[nn.Parameter, Tensor]] = []

    def begin(self) -> None:
        """Drops the copies of a step that never ended."""
        self._before = []

    def after_backward(self) -> Readings:
        """Copies the weights while they are still the old ones."""
        self._before = [(p, p.detach().clone()) for p in self.network.trained()]
        return {}

    def after_update(self) -> Readings:
        """Norms of the new weights, and of the way from the old ones."""
        network = self.network
        parameters = list(network.parameters.values())
        sizes = norms(parameters, network.device)
        readings = {"weight.norm": sizes.to(torch.float32)}
        moved = [p for p, _ in self._before]
        copies = [copy for _, copy in self._before]
        self._before = []
        old = norms(copies, network.device)
        if copies:
            torch._foreach_sub_(copies, [parameter.detach() for parameter in moved])
        way = norms(copies, network.device)
        ratio = torch.where(old == 0, absent(len(copies), network.device), (way / old).to(torch.float32))
        place = {id(parameter): at for at, parameter in enumerate(parameters)}
        return readings | {"update.ratio": network.spread(ratio, [place[id(p)] for p in moved], len(parameters))}
