"""How large the weights are, and how far each step moves them."""

from array import array
from typing import Any

import numpy as np
import torch

from gyrostat.probes.base import Probe, Readings
from gyrostat.probes.native import kernels
from gyrostat.probes.network import Network, index, quotient
from gyrostat.probes.norms import norms
from gyrostat.probes.trail import Trail
from gyrostat.spec.probes import WeightsProbe
from gyrostat.wire.values import ABSENT_BITS

_ABSENT = int(ABSENT_BITS)


class Weights(Probe):
    """‖w‖₂ after the step, and ‖w_after − w_before‖₂ / ‖w_before‖₂, measured on copies made before the step.

    The ratio is of what really happened: momentum, weight decay, clipping and a skipped step are all in it. It is
    absent for parameters that are frozen or not the optimizer's, and where ‖w_before‖ is 0. Of large float32 weights
    on a CPU a sample is copied.
    """

    settings_type = WeightsProbe

    def __init__(self, settings: Any, network: Network) -> None:
        super().__init__(settings, network)
        self._parameters = list(network.parameters.values())
        self._all = list(range(len(self._parameters)))
        self._trail = Trail(network.device)
        self._here = network.device.type == "cpu"
        self._trained: list[int] = []
        self._others: list[int] = []
        # told anew at each step, whose frame is made up by then
        self._norms, self._ratios = (np.empty(len(self._parameters), dtype=np.float32) for _ in range(2))
        self._addresses = self._norms.ctypes.data, self._ratios.ctypes.data

    def begin(self) -> None:
        """Forgets a step that never ended."""
        self._trail.begin(unfinished=bool(self._trained))
        self._trained = []

    def after_backward(self) -> Readings:
        """Notes where the weights are before the step."""
        held = self.network.held()
        self._trained = [at for at, p in enumerate(self._parameters) if p.requires_grad and id(p) in held]
        self._trail.mark([self._parameters[at] for at in self._trained])
        return {}

    def after_update(self) -> Readings:
        """Norms of the new weights, and of the way from the old ones."""
        network, trained, way = self.network, self._trained, self._trail.way()
        self._trained, self._others, sizes = [], [], way.now
        if trained != self._all:
            self._others = sorted(set(self._all).difference(trained))
            sizes = way.now.new_empty(len(self._all))
            frozen = norms([self._parameters[at] for at in self._others], network.device)
            sizes[index(self._others, network.device)] = frozen
            sizes[index(trained, network.device)] = way.now
        network.sizes.note(sizes, self._hold)
        if self._others or not self._here:
            ratio = quotient(way.moved, way.before)
            if self._others:
                ratio = network.spread(ratio, trained, len(self._all))
            return {"weight.norm": sizes.to(torch.float32), "update.ratio": ratio}
        if (library := kernels.library) is not None:
            columns = way.now.data_ptr(), way.moved.data_ptr(), way.before.data_ptr()
            library.gyrostat_updates(len(trained), *columns, _ABSENT, *self._addresses)
        else:
            self._tell(*(column.tolist() for column in way))
        return {"weight.norm": self._norms, "update.ratio": self._ratios}

    def _tell(self, now: list[float], moved: list[float], before: list[float]) -> None:
        """Number by number: small operations on arrays cost more, so soon after a step."""
        # what is too large for float32 becomes infinite in such arrays, without a warning
        self._norms[:] = array("f", now)
        self._ratios[:] = array("f", [way / size if size else 0.0 for way, size in zip(moved, before, strict=True)])
        for at in [at for at, size in enumerate(before) if not size]:
            self._ratios.view(np.uint32)[at] = _ABSENT

    def _hold(self) -> bool:
        """Whether parameters with a gradient are as the last step left them; not known of another optimizer's."""
        return self._trail.holds() and not any(self._parameters[at].requires_grad for at in self._others)
