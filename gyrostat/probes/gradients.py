"""How large the gradients are that reach each parameter."""

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gyrostat.probes.base import Probe, Readings, Value
from gyrostat.probes.magnitudes import at_hand, magnitudes
from gyrostat.probes.moments import KINDS
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
            sizes = known if len(held) == len(known) else known[index(held, network.device)]
        if (library := kernels.library) is not None and self._here and all(map(at_hand, gradients)):
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
    """What the kernel tells of all gradients in one call: cold small operations cost more than what they compute."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self._width = len(parameters)
        self._values = np.empty(5 * self._width + 2, dtype=np.float32)
        self._rows = np.empty((self._width, 4))
        self._addresses = self._rows.ctypes.data, self._values.ctypes.data
        self.hold([], [])

    def hold(self, held: Sequence[int], layers: Sequence[tuple[int, int]]) -> None:
        """The parameters at these places have gradients; `layers`: depths of some of them, and which ones these are."""
        count, self._slopes = len(held), bool(layers)
        depths, rows = zip(*layers, strict=True) if layers else ((), ())
        self._pointers, self._lengths, self._formats = (
            ctypes.c_void_p * count,
            ctypes.c_int64 * count,
            ctypes.c_int32 * count,
        )
        self._places = (ctypes.c_int64 * count)(*held)
        self._layers = (
            len(layers),
            (ctypes.c_int64 * len(layers))(*rows),
            (ctypes.c_double * len(layers))(*depths),
        )

    def filled(
        self, gradients: Sequence[Tensor], sizes: Tensor, library: ctypes.CDLL
    ) -> tuple[Sequence[Float32Array], float, Float32Array | None]:
        """The columns of `_OF_PARAMETERS`, the norm of all, and the slope over depth, where there is one.

        `sizes`: (n,) float64, the norms of the weights.
        """
        width, pointers = self._width, self._pointers(*[gradient.data_ptr() for gradient in gradients])
        lengths = self._lengths(*[gradient.numel() for gradient in gradients])
        formats = self._formats(*[KINDS[gradient.dtype] for gradient in gradients])
        library.gyrostat_gradients(
            len(gradients), pointers, lengths, formats, sizes.data_ptr(), self._places, width, *self._layers,
            _ABSENT, *self._addresses,
        )  # fmt: skip
        values = self._values.copy()
        columns = [values[at : at + width] for at in range(0, 5 * width, width)]
        return columns, float(values[-2]), values[-1:] if self._slopes else None


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
