"""How large the gradients are that reach each parameter."""

import ctypes
from array import array
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gyrostat.probes.base import Probe, Readings, Value
from gyrostat.probes.magnitudes import at_hand, magnitudes
from gyrostat.probes.moments import formats
from gyrostat.probes.native import kernels
from gyrostat.probes.network import Network, absent, index, quotient
from gyrostat.probes.norms import global_norm, norms
from gyrostat.spec.probes import GradientsProbe
from gyrostat.wire.values import ABSENT_BITS, Float32Array

Float64Array = npt.NDArray[np.float64]

_OF_PARAMETERS = (
    "gradient.norm",
    "gradient.max_abs",
    "gradient.nonfinite_count",
    "gradient.zero_fraction",
    "gradient.weight_ratio",
)

_ABSENT = int(ABSENT_BITS)

_kind = attrgetter("dtype", "layout", "is_cpu")


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
        self._table = _Table(self._parameters)
        self._here = network.device.type == "cpu"

    def after_backward(self) -> Readings:
        """Of the final gradients."""
        network = self.network
        present = [(at, g) for at, p in enumerate(self._parameters) if p.requires_grad and (g := p.grad) is not None]
        held, gradients = [at for at, _ in present], [gradient for _, gradient in present]
        if held != self._held:  # nearly always the same
            place = {at: row for row, at in enumerate(held)}
            layers = [(depth, place[at]) for depth, at in enumerate(self._matrices) if at in place]
            self._held, self._layers = held, layers if len(layers) > 1 else []
            self._table.hold(held, self._layers)
        known = network.sizes.known()
        if known is None:
            sizes = norms([self._parameters[at] for at in held], network.device)
        else:
            sizes = known if len(held) == len(self._parameters) else known[index(held, network.device)]
        if (library := kernels.library) is not None and self._here and self._table.takes(gradients):
            return self._readings(*self._table.filled(gradients, sizes.contiguous(), library))
        found = magnitudes(gradients, network.device)
        columns = (found.norms, found.largest, found.nonfinite, found.zero_fraction, quotient(found.norms, sizes))
        spread = network.spread_each(columns, held, len(self._parameters))
        slope = None
        if self._layers:
            depths, rows = (index(column, network.device) for column in zip(*self._layers, strict=True))
            slope = log_slope(depths, found.norms[rows])
        return self._readings(spread, global_norm(found.norms), slope)

    def _readings(self, columns: Sequence[Value], norm: Value, slope: Value | None) -> Readings:
        readings: dict[str, Value] = dict(zip(_OF_PARAMETERS, columns, strict=True))
        readings["gradient.global_norm"] = norm
        if slope is not None:
            readings["gradient.depth_slope"] = slope
        return readings

    def after_clip(self) -> Readings:
        """The norm that the optimizer gets to see."""
        held = [p.grad for p in self._parameters if p.requires_grad and p.grad is not None]
        return {"gradient.clipped_norm": global_norm(norms(held, self.network.device))}


class _Table:
    """What the kernel tells of all gradients in one call: cold small operations cost more than what they compute.

    What it tells holds until the next call, by which the step's frame is made up.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self._width = width = len(parameters)
        values = np.empty(5 * width + 2, dtype=np.float32)
        self._columns = [values[at : at + width] for at in range(0, 5 * width, width)]
        self._norm, self._slope = values[-2:-1], values[-1:]
        self._rows = np.empty((width, 4))
        self._addresses = self._rows.ctypes.data, values.ctypes.data
        self.hold([], [])

    def hold(self, held: Sequence[int], layers: Sequence[tuple[int, int]]) -> None:
        """The parameters at these places have gradients; `layers`: depths of some of them, and which ones these are."""
        self._slopes = bool(layers)
        depths, rows = zip(*layers, strict=True) if layers else ((), ())
        self._places = (ctypes.c_int64 * len(held))(*held)
        self._layers = (
            len(layers),
            (ctypes.c_int64 * len(layers))(*rows),
            (ctypes.c_double * len(layers))(*depths),
        )
        self._lengths: list[int] = []
        self._kinds: list[Any] = []
        self._forms = (ctypes.c_int64 * 0)(), formats([])

    def takes(self, gradients: Sequence[Tensor]) -> bool:
        """Whether the kernel reads them as they are; they are nearly always of the kinds that the last ones were."""
        lengths, kinds = list(map(Tensor.numel, gradients)), list(map(_kind, gradients))
        if kinds == self._kinds and lengths == self._lengths:
            return all(map(Tensor.is_contiguous, gradients))
        if not all(map(at_hand, gradients)):
            return False
        self._lengths, self._kinds = lengths, kinds
        self._forms = (ctypes.c_int64 * len(lengths))(*lengths), formats(gradients)
        return True

    def filled(
        self, gradients: Sequence[Tensor], sizes: Tensor, library: ctypes.CDLL
    ) -> tuple[Sequence[Float32Array], Float32Array, Float32Array | None]:
        """The columns of `_OF_PARAMETERS`, the norm of all, and the slope over depth, where there is one.

        `gradients` are some that it takes; `sizes`: (n,) float64, the norms of the weights.
        """
        addresses = array("q", map(Tensor.data_ptr, gradients))
        library.gyrostat_gradients(
            len(gradients), addresses.buffer_info()[0], *self._forms, sizes.data_ptr(), self._places, self._width,
            *self._layers, _ABSENT, *self._addresses,
        )  # fmt: skip
        return self._columns, self._norm, self._slope if self._slopes else None


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
