"""What a step's outputs come to where there is no kernel, on a CPU: of large ones sizes are exact, shapes sampled."""

from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gyrostat.probes.channels import SATURATED, Bounds, arranged, channel_axis, read
from gyrostat.probes.moments import LARGEST, NARROW, NONFINITE, SQUARES, ZEROS
from gyrostat.probes.survey import SAMPLE, Float32Array, Float64Array, Size, powers, sample_of, size_of
from gyrostat.wire.values import ABSENT_BITS

T = TypeVar("T")

_TOTAL, _SUM_OF_SQUARES, _ELEMENTS = range(SATURATED + 1, SATURATED + 4)
_COLUMNS = SATURATED + 4
"""Of a row: `Moments`, whose powers are the samples', and saturated elements; Σx, Σx² and number of all."""

_WHOLE = 4 * SAMPLE
"""Up to so many elements, all are looked at."""

_HELD = 64
"""Outputs that wait for being put together: bounds the memory of samples for loops over time steps."""

_NEVER_NEGATIVE = frozenset({nn.ReLU, nn.ReLU6, nn.Sigmoid, nn.Hardsigmoid, nn.Softplus, nn.Softmax})

_ROUNDING = 1e-6
"""A variance below so much of the mean square has no shape: its fourth moment would be that of rounding, as float64
holds Σx⁴ to 1e-16 or so."""


class _Reading(NamedTuple):
    """Of one output: whose it is, how many elements it has, their sizes, and some of them."""

    leaf: int
    elements: int
    size: Size
    sample: Float32Array


class SurveyOutputs:
    """Reads outputs of modules; in the place of `HostOutputs`.

    A unit counts as zero where its squares are no float32: below 1e-22.

    Args:
        modules: all, in the order of the results.
        bounds: of each, between which its outputs are not saturated.
        metrics: how many there are.
    """

    def __init__(self, modules: Sequence[nn.Module], bounds: Sequence[Bounds | None], metrics: int) -> None:
        self._modules, self._bounds, self._metrics = modules, bounds, metrics
        self._axes: dict[tuple[int, int], int | None] = {}
        self._silent: dict[int, npt.NDArray[np.int32]] = {}
        self._measured: dict[int, int] = {}
        self.forget()

    def forget(self) -> None:
        """Drops what was read of a step that never ended."""
        self._rows = np.zeros((len(self._modules), _COLUMNS))
        self._squares: dict[int, Float64Array] = {}
        self._alive: dict[int, npt.NDArray[np.bool_]] = {}
        self._readings: list[_Reading] = []

    def add(self, leaf: int, output: Tensor) -> None:
        """Reads one output of the module at this position."""
        values, known = output.detach(), (leaf, output.ndim)
        if known not in self._axes:
            self._axes[known] = channel_axis(self._modules[leaf], output)
        axis = self._axes[known]
        if axis is None or values.numel() <= _WHOLE or values.dtype not in NARROW or not values.is_cpu:
            self._add_whole(leaf, values, axis)
            return
        table = arranged(values, axis)
        array = (table if table.dtype == torch.float32 else table.float()).numpy()
        size = size_of(array, negative=type(self._modules[leaf]) not in _NEVER_NEGATIVE)
        if size is None:
            self._add_whole(leaf, values, axis)
            return
        self._readings.append(_Reading(leaf, array.size, size, array[sample_of(*array.shape)].flatten()))
        if len(self._readings) >= _HELD:
            self._add_up()

    def _add_whole(self, leaf: int, output: Tensor, axis: int | None) -> None:
        if output.numel() == 0:
            return
        found = read(output, axis, self._bounds[leaf])
        row = found.row.cpu().numpy()
        self._add_row(leaf, np.array([*row, row[0], row[SQUARES], output.numel()]))
        if found.squares is not None and found.alive is not None:
            self._add_channels(leaf, found.squares.cpu().double().numpy(), found.alive.cpu().numpy())

    def _add_row(self, leaf: int, row: Float64Array) -> None:
        largest = np.maximum(self._rows[leaf, LARGEST], row[LARGEST])
        self._rows[leaf] += row
        self._rows[leaf, LARGEST] = largest

    def _add_channels(self, leaf: int, squares: Float64Array, alive: npt.NDArray[np.bool_]) -> None:
        if leaf in self._squares and len(self._squares[leaf]) == len(squares):
            squares, alive = self._squares[leaf] + squares, self._alive[leaf] | alive
        self._squares[leaf], self._alive[leaf] = squares, alive

    def _add_up(self) -> None:
        """Puts what was read into the rows; samples of one length together, since small operations are dear."""
        for group in _by_length((reading.sample, reading) for reading in self._readings):
            samples = np.stack([reading.sample for reading in group])
            counts = np.array([reading.elements for reading in group])
            rows = np.zeros((len(group), _COLUMNS))
            rows[:, _TOTAL] = [reading.size.total for reading in group]
            rows[:, _SUM_OF_SQUARES] = [reading.size.squares.sum() for reading in group]
            rows[:, :4] = powers(samples, rows[:, _TOTAL] / counts)
            rows[:, ZEROS] = [np.count_nonzero(zeros) for zeros in samples == 0]
            rows[:, SATURATED] = [
                0 if (bounds := self._bounds[reading.leaf]) is None else _outside(reading.sample, bounds)
                for reading in group
            ]
            rows[:, ZEROS] *= counts / samples.shape[1]
            rows[:, SATURATED] *= counts / samples.shape[1]
            rows[:, :4] *= counts[:, None]
            rows[:, LARGEST] = [reading.size.largest for reading in group]
            rows[:, _ELEMENTS] = counts
            for reading, row in zip(group, rows, strict=True):
                self._add_row(reading.leaf, row)
                self._add_channels(reading.leaf, reading.size.squares, reading.size.squares != 0)
        self._readings = []

    def summary(self, window: int) -> Float32Array | None:
        """(metrics, modules) of all that was read since the last call; None of nothing."""
        self._add_up()
        called = np.flatnonzero(self._rows[:, _ELEMENTS])
        if not len(called):
            return None
        table = np.full((self._metrics, len(self._modules)), ABSENT_BITS, dtype=np.uint32).view(np.float32)
        rows = self._rows[called]
        with np.errstate(all="ignore"):
            means = rows / rows[:, _ELEMENTS, None]
            sizes = [means[:, _TOTAL], np.sqrt(means[:, _SUM_OF_SQUARES]), rows[:, LARGEST]]
            table[:5, called] = [*sizes, means[:, ZEROS], rows[:, NONFINITE]]
            shaped, kurtosis = _kurtosis(means[:, :4])
            table[5, called[shaped]] = kurtosis[shaped]
            if bounded := [row for row, leaf in enumerate(called.tolist()) if self._bounds[leaf] is not None]:
                table[6, called[bounded]] = means[bounded, SATURATED]
            self._summarize_channels(table, window)
        self.forget()
        return table

    def _summarize_channels(self, table: Float32Array, window: int) -> None:
        for leaves in _by_length((squares, leaf) for leaf, squares in self._squares.items()):
            squares = np.stack([self._squares[leaf] for leaf in leaves])
            table[7, leaves] = self._dead_fractions(squares.shape[1], leaves, window)
            squares.sort(axis=1)
            largest, typical = squares[:, -1], squares[:, (squares.shape[1] - 1) // 2]  # NaN comes last
            known = typical != 0
            table[8, np.array(leaves)[known]] = np.sqrt(largest[known] / typical[known])

    def _dead_fractions(self, length: int, leaves: Sequence[int], window: int) -> Float64Array:
        """Counts this step."""
        for leaf in leaves:
            if leaf not in self._silent or len(self._silent[leaf]) != length:
                self._silent[leaf], self._measured[leaf] = np.zeros(length, dtype=np.int32), 0
            self._measured[leaf] += 1
        silent = np.stack([self._silent[leaf] for leaf in leaves]) + 1
        silent[np.stack([self._alive[leaf] for leaf in leaves])] = 0
        self._silent |= dict(zip(leaves, silent, strict=True))
        needed = np.array([min(self._measured[leaf], window) for leaf in leaves])
        dead: Float64Array = (silent >= needed[:, None]).mean(1)
        return dead

    def silence(self) -> tuple[dict[int, Tensor], dict[int, int]]:
        """For how many measurements each channel has been silent, and how many there were, by the module's position."""
        return {leaf: torch.from_numpy(silent) for leaf, silent in self._silent.items()}, dict(self._measured)

    def take_up(self, silent: Mapping[int, Tensor], measured: Mapping[int, int]) -> None:
        """What `silence` gave."""
        self._silent = {leaf: of_channels.to(torch.int32).numpy().copy() for leaf, of_channels in silent.items()}
        self._measured = {leaf: measured.get(leaf, 0) for leaf in silent}


def _by_length(sized: Iterable[tuple[Sized, T]]) -> Iterable[list[T]]:
    """What belongs to arrays of one length, together."""
    groups: dict[int, list[T]] = {}
    for array, each in sized:
        groups.setdefault(len(array), []).append(each)
    return groups.values()


def _outside(elements: Float32Array, bounds: Bounds) -> int:
    return int(np.count_nonzero((elements <= bounds[0]) | (elements >= bounds[1])))


def _kurtosis(means: Float64Array) -> tuple[npt.NDArray[np.bool_], Float64Array]:
    """Of (n, 4) mean powers, which have a shape, and the fourth central moment over the squared variance."""
    mean, s2, s3, s4 = means.T
    square = mean * mean
    variance = s2 - square
    fourth = s4 - 4 * mean * s3 + 6 * square * s2 - 3 * square * square
    return ~(variance <= _ROUNDING * s2), fourth / (variance * variance)
