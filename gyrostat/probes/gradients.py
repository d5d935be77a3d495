"""How large the gradients are that reach each parameter."""

import ctypes
import math
from array import array
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import numpy as np
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
        held, gradients = [], []
        for at, parameter in enumerate(self._parameters):
            if parameter.requires_grad and (gradient := parameter.grad) is not None:
                held.append(at)
                gradients.append(gradient)
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
        if self._here:
            columns = (found.norms, found.largest, found.nonfinite, found.zero_fraction, sizes)
            return self._readings(*self._table.told(*(column.tolist() for column in columns)))
        columns = (found.norms, found.largest, found.nonfinite, found.zero_fraction, quotient(found.norms, sizes))
        spread = network.spread_each(columns, held, len(self._parameters))
        slope = None
        if self._layers:
            depths, rows = (index(column, network.device) for column in zip(*self._layers, strict=True))
            slope = _log_slope(depths, found.norms[rows])
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
    """What is told of all gradients on a CPU: small operations, so soon after a pass, cost more than what they compute.

    It holds until the next call, by which the step's frame is made up.
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
        self._held, self._depths = list(held), layers
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
        """Whether the kernel reads these gradients as they are; nearly always they are of the last ones' kinds."""
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
        """By the kernel, of gradients that it takes: columns, the norm of all, and the slope where there is one.

        `sizes`: (n,) float64, the norms of the weights.
        """
        addresses = array("q", map(Tensor.data_ptr, gradients))
        library.gyrostat_gradients(
            len(gradients), addresses.buffer_info()[0], *self._forms, sizes.data_ptr(), self._places, self._width,
            *self._layers, _ABSENT, *self._addresses,
        )  # fmt: skip
        return self._columns, self._norm, self._slope if self._depths else None

    def told(
        self, found: list[float], largest: list[float], nonfinite: list[float], zeros: list[float], sizes: list[float]
    ) -> tuple[Sequence[Float32Array], Float32Array, Float32Array | None]:
        """The same of what was found without the kernel, number by number."""
        ratios = [norm / size if size else 0.0 for norm, size in zip(found, sizes, strict=True)]
        for column, values in zip(self._columns, (found, largest, nonfinite, zeros, ratios), strict=True):
            if len(values) == self._width:
                # what is too large for float32 becomes infinite in such arrays, without a warning
                column[:] = array("f", values)
            else:
                column.view(np.uint32)[:] = _ABSENT
                column[self._held] = array("f", values)
        for at, size in zip(self._held, sizes, strict=True):
            if not size:
                self._columns[-1].view(np.uint32)[at] = _ABSENT
        self._norm[:] = array("f", [math.nan if any(map(math.isnan, found)) else math.hypot(*found)])
        if (slope := _host_log_slope([(depth, found[row]) for depth, row in self._depths])) is None:
            self._slope.view(np.uint32)[:] = _ABSENT
        else:
            self._slope[:] = slope
        return self._columns, self._norm, self._slope if self._depths else None


def _log_slope(depths: Tensor, sizes: Tensor) -> Tensor:
    """Least-squares slope of ln(sizes) over `depths`, both (n,): (1,) float32.

    Sizes that have no logarithm (0, infinite, NaN) do not take part; "not measured" where fewer than two do.
    """
    logarithms = sizes.log()
    known = logarithms.isfinite()
    count = known.sum()
    at = torch.where(known, depths - (depths * known).sum() / count, 0)
    slope = (at * torch.where(known, logarithms, 0)).sum() / at.square().sum()
    return torch.where(count > 1, slope.to(torch.float32), absent(1, sizes.device))


def _host_log_slope(points: Sequence[tuple[int, float]]) -> float | None:
    """The same of depths and sizes."""
    known = [(depth, math.log(size)) for depth, size in points if 0 < size < math.inf]
    if len(known) < 2:
        return None
    depth, mean = (sum(column) / len(known) for column in zip(*known, strict=True))
    above = sum((at - depth) * (logarithm - mean) for at, logarithm in known)
    return float(above / sum((at - depth) ** 2 for at, _ in known))
