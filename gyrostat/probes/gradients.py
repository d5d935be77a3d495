"""How large the gradients are that reach each parameter."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gyrostat.probes.base import Probe, Readings
from gyrostat.probes.magnitudes import magnitudes
from gyrostat.probes.network import Network, absent, index, quotient
from gyrostat.probes.norms import global_norm, norms
from gyrostat.spec.probes import GradientsProbe

Float64Array = npt.NDArray[np.float64]

_OF_PARAMETERS = (
    "gradient.norm",
    "gradient.max_abs",
    "gradient.nonfinite_count",
    "gradient.zero_fraction",
    "gradient.weight_ratio",
)


class Gradients(Probe):
    """What one read of each gradient tells, before clipping, and the norm of all after it. Absent without gradient."""

    settings_type = GradientsProbe

    def __init__(self, settings: Any, network: Network) -> None:
        super().__init__(settings, network)
        places = {name: at for at, name in enumerate(network.parameters)}
        self._matrices = [places[name] for name in network.matrices]

    def after_backward(self) -> Readings:
        """Of the final gradients."""
        network = self.network
        parameters = list(network.parameters.values())
        held = [at for at, p in enumerate(parameters) if p.requires_grad and p.grad is not None]
        found = magnitudes([g for at in held if (g := parameters[at].grad) is not None], network.device)
        known = network.sizes.known()
        if known is None:
            sizes = norms([parameters[at] for at in held], network.device)
        else:
            sizes = known if len(held) == len(known) else known[index(held, network.device)]
        columns = (found.norms, found.largest, found.nonfinite, found.zero_fraction, quotient(found.norms, sizes))
        readings: dict[str, Tensor | float] = {
            name: network.spread(column, held, len(parameters))
            for name, column in zip(_OF_PARAMETERS, columns, strict=True)
        }
        readings["gradient.global_norm"] = global_norm(found.norms)
        place = {at: row for row, at in enumerate(held)}
        layers = [(depth, place[at]) for depth, at in enumerate(self._matrices) if at in place]
        if len(layers) > 1:
            depths, rows = (index(column, network.device) for column in zip(*layers, strict=True))
            readings["gradient.depth_slope"] = log_slope(depths, found.norms[rows])
        return readings

    def after_clip(self) -> Readings:
        """The norm that the optimizer gets to see."""
        held = [p.grad for p in self.network.parameters.values() if p.requires_grad and p.grad is not None]
        return {"gradient.clipped_norm": global_norm(norms(held, self.network.device))}


def log_slope(depths: Tensor, sizes: Tensor) -> Tensor:
    """Least-squares slope of ln(sizes) over `depths`, both (n,): (1,) float32.

    Sizes that have no logarithm (0, infinite, NaN) do not take part; "not measured" where fewer than two do.
    """
    if sizes.is_cpu:  # where numpy's calls take a fraction of torch's
        return _host_log_slope(depths.double().numpy(), sizes.double().numpy())
    logarithms = sizes.log()
    known = logarithms.isfinite()
    count = known.sum()
    at = torch.where(known, depths - (depths * known).sum() / count, 0)
    slope = (at * torch.where(known, logarithms, 0)).sum() / at.square().sum()
    return torch.where(count > 1, slope.to(torch.float32), absent(1, sizes.device))


def _host_log_slope(depths: Float64Array, sizes: Float64Array) -> Tensor:
    known = (sizes > 0) & np.isfinite(sizes)
    at, logarithms = depths[known], np.log(sizes[known])
    if len(at) < 2:
        return absent(1, torch.device("cpu"))
    at = at - at.mean()
    return torch.tensor([at @ logarithms / (at @ at)], dtype=torch.float32)
