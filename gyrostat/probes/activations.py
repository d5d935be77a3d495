"""How large the outputs of each module are and how they are spread; which are zero, saturated, dead or outliers."""

from typing import Any

import torch
from torch import Tensor

from gyrostat.probes.base import Need, Probe, Readings
from gyrostat.probes.channels import SATURATED, Bounds, Read, channel_axis, medians, read, saturation_bounds
from gyrostat.probes.host_outputs import HostOutputs
from gyrostat.probes.moments import LARGEST, NONFINITE, WIDTH, ZEROS
from gyrostat.probes.native import kernels
from gyrostat.probes.network import Network, absent, index
from gyrostat.probes.survey_outputs import SurveyOutputs
from gyrostat.spec.probes import ActivationsProbe

_ROWS = 4096
"""Calls whose results are held before they are added up: bounds memory for loops over time steps."""

_ROUNDING = 1e-6
"""A variance below so much of the mean square has no shape: its fourth moment would be that of rounding, as float64
holds Σx⁴ to 1e-16 or so."""


class Activations(Probe):
    """Moments of all that a leaf module put out in a step; its zeros, saturated elements, dead and outlier channels.

    Several calls of a module, and several micro-batches, count as one output. What a module does in place to another's
    output afterwards does not count: an output is read when it is made.
    """

    settings_type = ActivationsProbe
    needs = frozenset({Need.OUTPUTS})

    def __init__(self, settings: Any, network: Network) -> None:
        super().__init__(settings, network)
        self._wide = torch.float32 if network.device.type == "mps" else torch.float64
        self._modules = list(network.leaves.values())
        self._bounds: list[Bounds | None] = [saturation_bounds(m, settings.saturation) for m in self._modules]
        self._silent: dict[int, Tensor] = {}
        self._measured: dict[int, int] = {}
        self._host: HostOutputs | SurveyOutputs | None = None
        self._all_here = all(parameter.is_cpu for parameter in network.parameters.values())
        self.begin()

    def begin(self) -> None:
        """Starts from nothing, but for how long channels have been silent."""
        if self._all_here and not (isinstance(self._host, HostOutputs) or (self._host and kernels.library is None)):
            self._change_host()
        if self._host is not None:
            self._host.forget()
            return
        leaves = len(self._modules)
        self._counts = [0] * leaves
        self._sums = torch.zeros(leaves, WIDTH + 1, dtype=self._wide, device=self.network.device)
        self._largest = torch.zeros(leaves, dtype=self._wide, device=self.network.device)
        self._rows: list[Tensor] = []
        self._leaves: list[int] = []
        self._channels: dict[int, tuple[Tensor, Tensor]] = {}

    def _change_host(self) -> None:
        """To the kernel, where it is there by now."""
        known = (self._silent, self._measured) if self._host is None else self._host.silence()
        library, metrics = kernels.library, len(self.settings.metrics)
        if library is None:
            self._host = SurveyOutputs(self._modules, self._bounds, metrics)
        else:
            self._host = HostOutputs(self._modules, self._bounds, metrics, library)
        self._host.take_up(*known)

    def output(self, leaf: int, output: Tensor) -> None:
        """Reads one output."""
        if self._host is not None:
            self._host.add(leaf, output)
            return
        if output.numel() == 0:
            return
        found = read(output.detach(), channel_axis(self._modules[leaf], output), self._bounds[leaf])
        self._counts[leaf] += output.numel()
        self._leaves.append(leaf)
        self._rows.append(found.row)
        self._add_channels(leaf, found)
        if len(self._rows) >= _ROWS:
            self._add_up()

    def _add_channels(self, leaf: int, found: Read) -> None:
        if found.squares is None or found.alive is None:
            return
        squares, alive = self._channels.get(leaf, (None, None))
        if squares is not None and alive is not None and squares.shape == found.squares.shape:
            self._channels[leaf] = (squares + found.squares, alive | found.alive)
        else:
            self._channels[leaf] = (found.squares, found.alive)

    def after_backward(self) -> Readings:
        """Over all forward passes of the step."""
        if self._host is not None:
            found = self._host.summary(self.settings.window)
            return {} if found is None else dict(zip(self.settings.metrics, found, strict=True))
        self._add_up()
        called = [leaf for leaf, count in enumerate(self._counts) if count]
        if not called:
            return {}
        device, metrics = self.network.device, self.settings.metrics
        # one table for all metrics: on a CPU small operations cost more than what they compute
        table = absent(len(metrics) * len(self._counts), device).view(len(metrics), -1)
        at = index(called, device)
        sums, largest = self._sums[at], self._largest[at]
        count = index([self._counts[leaf] for leaf in called], device).to(largest.dtype)
        means = (sums / count[:, None]).T
        values = [means[0], means[1].sqrt(), largest, means[ZEROS], sums[:, NONFINITE]]
        table[:6, at] = torch.stack([*(value.to(torch.float32) for value in values), kurtosis(means)])
        if bounded := [leaf for leaf in called if self._bounds[leaf] is not None]:
            rows = [row for row, leaf in enumerate(called) if self._bounds[leaf] is not None]
            table[6, index(bounded, device)] = means[SATURATED, index(rows, device)].to(torch.float32)
        if self._channels:
            table[7:9, index(list(self._channels), device)] = self._of_channels()
        return dict(zip(metrics, table, strict=True))

    def _of_channels(self) -> Tensor:
        """(2, modules with channels) float32: dead fractions, and the largest channel over the median one."""
        device, leaves = self.network.device, list(self._channels)
        found = [self._channels[leaf] for leaf in leaves]
        lengths = [len(alive) for _, alive in found]
        squares, alive = (torch.cat(column).to(device) for column in zip(*found, strict=True))
        counts = index(lengths, device)
        segment = torch.repeat_interleave(counts, output_size=len(alive))
        silent = torch.where(alive, 0, self._silence(leaves, lengths) + 1)
        self._silent |= dict(zip(leaves, torch.split(silent, lengths), strict=True))
        needed = index([min(self._measured[leaf], self.settings.window) for leaf in leaves], device)
        dead = (silent >= needed[segment]).to(squares.dtype)
        zeros = squares.new_zeros(len(leaves))
        typical = medians(squares, lengths)
        ratio = (zeros.scatter_reduce(0, segment, squares, "amax") / typical).sqrt().to(torch.float32)
        fraction = (zeros.index_add(0, segment, dead) / counts).to(torch.float32)
        return torch.stack((fraction, torch.where(typical == 0, absent(len(leaves), device), ratio)))

    def _silence(self, leaves: list[int], lengths: list[int]) -> Tensor:
        """For how many measurements each channel has been silent before this one, which is counted here."""
        for leaf, length in zip(leaves, lengths, strict=True):
            if leaf not in self._silent or len(self._silent[leaf]) != length:
                self._measured[leaf] = 0
                self._silent[leaf] = torch.zeros(length, dtype=torch.int32, device=self.network.device)
            self._measured[leaf] += 1
        return torch.cat([self._silent[leaf] for leaf in leaves])

    def _add_up(self) -> None:
        if not self._rows:
            return
        device = self.network.device
        rows = torch.stack([row.to(device, self._wide, non_blocking=True) for row in self._rows])
        leaves = index(self._leaves, device)
        self._sums.index_add_(0, leaves, rows)
        self._largest.scatter_reduce_(0, leaves, rows[:, LARGEST], "amax")
        self._rows, self._leaves = [], []

    def state_dict(self) -> dict[str, Any]:
        """For how many measurements each channel has been silent, by module."""
        names = list(self.network.leaves)
        silences, counts = (self._silent, self._measured) if self._host is None else self._host.silence()
        return {
            "silent": {names[leaf]: silent.clone() for leaf, silent in silences.items()},
            "measured": {names[leaf]: measured for leaf, measured in counts.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up `state_dict`; what belongs to modules that are not there is passed over."""
        places = {name: leaf for leaf, name in enumerate(self.network.leaves)}
        device = self.network.device
        self._silent = {places[n]: s.to(device) for n, s in state.get("silent", {}).items() if n in places}
        self._measured = {places[n]: m for n, m in state.get("measured", {}).items() if n in places}
        if self._host is not None:
            self._host.take_up(self._silent, self._measured)


def kurtosis(means: Tensor) -> Tensor:
    """Fourth central moment over the squared variance, (n,) float32, of mean powers (≥ 4, n); absent of constants."""
    mean, s2, s3, s4 = means[:4]
    square = mean * mean
    variance = s2 - square
    fourth = s4 - 4 * mean * s3 + 6 * square * s2 - 3 * square * square
    shapeless = variance <= _ROUNDING * s2
    return torch.where(shapeless, absent(len(mean), mean.device), (fourth / (variance * variance)).to(torch.float32))
