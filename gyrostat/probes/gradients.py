"""How large the gradients are that reach each parameter."""

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gyrostat.probes.base import Probe, Readings
from gyrostat.probes.magnitudes import at_hand, magnitudes
from gyrostat.probes.moments import addressed, formats
from gyrostat.probes.native import kernels
from gyrostat.probes.network import Network, absent, index, quotient
from gyrostat.probes.norms import global_norm, norms
from gyrostat.spec.probes import GradientsProbe
from gyrostat.wire.values import ABSENT_BITS

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
        self._parameters = list(network.parameters.values())
        self._matrices = [places[name] for name in network.matrices]
        self._held: list[int] = []
        self._layers: list[tuple[int, int]] = []

    def after_backward(self) -> Readings:
        """Of the final gradients."""
        network = self.network
        present = {at: g for at, p in enumerate(self._parameters) if p.requires_grad and (g := p.grad) is not None}
        gradients = list(present.values())
        self._hold(list(present))
        known = network.sizes.known()
        if known is None:
            sizes = norms([self._parameters[at] for at in self._held], network.device)
        else:
            sizes = known if len(self._held) == len(known) else known[index(self._held, network.device)]
        if (library := kernels.library) is not None and network.device.type == "cpu" and all(map(at_hand, gradients)):
            return self._by_kernel(gradients, sizes.contiguous(), library)
        found = magnitudes(gradients, network.device)
        columns = (found.norms, found.largest, found.nonfinite, found.zero_fraction, quotient(found.norms, sizes))
        spread = network.spread_each(columns, self._held, len(self._parameters))
        slope = None
        if self._layers:
            depths, rows = (index(column, network.device) for column in zip(*self._layers, strict=True))
            slope = log_slope(depths, found.norms[rows])
        return self._readings(spread, global_norm(found.norms), slope)

    def _hold(self, held: list[int]) -> None:
        """Notes which parameters have a gradient: nearly always the same."""
        if held != self._held:
            place = {at: row for row, at in enumerate(held)}
            layers = [(depth, place[at]) for depth, at in enumerate(self._matrices) if at in place]
            self._held, self._layers = held, layers if len(layers) > 1 else []

    def _by_kernel(self, gradients: Sequence[Tensor], sizes: Tensor, library: ctypes.CDLL) -> Readings:
        """All in one call: cold small operations cost more than what they compute."""
        width, layers = len(self._parameters), len(self._layers)
        depths, rows = zip(*self._layers, strict=True) if layers else ((), ())
        table, scratch = torch.empty(5 * width + 2), torch.empty(len(gradients), 4, dtype=torch.float64)
        library.gyrostat_gradients(
            *addressed(gradients), formats(gradients), sizes.data_ptr(), (ctypes.c_int64 * len(gradients))(*self._held),
            width, layers, (ctypes.c_int64 * layers)(*rows), (ctypes.c_double * layers)(*depths),
            int(ABSENT_BITS), scratch.data_ptr(), table.data_ptr(),
        )  # fmt: skip
        *columns, rest = torch.split(table, [width] * 5 + [2])
        return self._readings(columns, rest[0], rest[1:] if layers else None)

    def _readings(self, columns: Sequence[Tensor], norm: Tensor, slope: Tensor | None) -> Readings:
        readings: dict[str, Tensor | float] = dict(zip(_OF_PARAMETERS, columns, strict=True))
        readings["gradient.global_norm"] = norm
        if slope is not None:
            readings["gradient.depth_slope"] = slope
        return readings

    def after_clip(self) -> Readings:
        """The norm that the optimizer gets to see."""
        held = [p.grad for p in self._parameters if p.requires_grad and p.grad is not None]
        return {"gradient.clipped_norm": global_norm(norms(held, self.network.device))}


def log_slope(depths: Tensor, sizes: Tensor) -> Tensor:
    """Least-squares slope of ln(sizes) over `depths`, both (n,): (1,) float32.

    Sizes that have no logarithm (0, infinite, NaN) do not take part; "not measured" where fewer than two do.
    """
    if sizes.is_cpu:
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
