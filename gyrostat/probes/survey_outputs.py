"""What a step's outputs come to where there is no kernel, on a CPU: a sample of large ones."""

from collections.abc import Mapping, Sequence
from math import inf, sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gyrostat.probes.channels import SATURATED, Bounds, channel_axis, read
from gyrostat.probes.moments import LARGEST, NARROW, NONFINITE, SQUARES, ZEROS
from gyrostat.probes.survey import Float32Array, Float64Array, Sample, look_at, sample_of
from gyrostat.probes.units import Units
from gyrostat.wire.values import ABSENT_BITS

_ELEMENTS, _COLUMNS = SATURATED + 1, SATURATED + 2
"""Of a row: `Moments`, saturated elements, all elements."""

_FOURTHS = SQUARES + 2

_HELD = 64
"""Outputs of one shape that wait for being put together: bounds the memory of samples for loops over time steps."""

_OF_SQUARES, _OF_FOURTHS = 0.005, 0.1
"""An output is read as a whole where its largest element alone is a greater share of Σx² or Σx⁴: it may be outside of
the sample."""

_SMALLEST, _LARGEST = 2.0**-24, 2.0**28
"""Between these magnitudes, float32 holds fourth powers, and their sum."""

_NEVER_NEGATIVE = frozenset({nn.ReLU, nn.ReLU6, nn.Sigmoid, nn.Hardsigmoid, nn.Softplus, nn.Softmax})

_ROUNDING = 1e-6
"""A variance below so much of the mean square has no shape: its fourth moment would be that of rounding, as float64
holds Σx⁴ to 1e-16 or so."""

_FLOAT = np.dtype(np.float32)


class _Form(NamedTuple):
    """How a module's outputs lie in memory.

    Attributes:
        known: shape, strides and number format.
        order: axes as they lie; None where that is their own order.
        others: axes that are not the channels'.
        table: (outer, channels, inner).
        sample: where its elements are, also in bytes of float32.
    """

    known: tuple[torch.Size, tuple[int, ...], torch.dtype]
    order: list[int] | None
    others: tuple[int, ...]
    table: tuple[int, int, int]
    elements: int
    sample: Sample
    strides: tuple[int, ...]


class _Samples:
    """Those of one form that wait, side by side, and what else was read of each output."""

    def __init__(self, form: _Form) -> None:
        self.sample, self.elements = form.sample, form.elements
        # a tensor, since these are counted among what a session holds
        self._memory = torch.empty(0, *form.sample.shape, dtype=torch.float32, device="cpu")
        self._rows: Float32Array = self._memory.numpy()
        self.forget()

    def forget(self) -> None:
        self.leaves: list[int] = []
        self.largest: list[float] = []
        self.reach: dict[int, list[Float32Array]] = {}

    def room(self) -> Float32Array:
        """For the next one."""
        at = len(self.leaves)
        if at == len(self._rows):
            self._memory = torch.cat((self._memory, self._memory.new_empty(max(4, at), *self.sample.shape)))
            self._rows = self._memory.numpy()
        row: Float32Array = self._rows[at]
        return row

    def tables(self) -> Float32Array:
        """(n, positions, channels)"""
        return self._rows[: len(self.leaves)].reshape(len(self.leaves), self.sample.positions, -1)


class SurveyOutputs:
    """Reads outputs of modules; in the place of `HostOutputs`.

    A module's first output is read as a whole, and so is one whose largest element the sample may miss; of the others
    the sample tells. Whether units are silent is looked at in all their elements where the last sample had silent ones.

    Args:
        modules: all, in the order of the results.
        bounds: of each, between which its outputs are not saturated.
        metrics: how many there are.
    """

    def __init__(self, modules: Sequence[nn.Module], bounds: Sequence[Bounds | None], metrics: int) -> None:
        self._modules, self._bounds, self._metrics = modules, bounds, metrics
        self._rows, self._largest = np.zeros((len(modules), _COLUMNS)), np.zeros(len(modules))
        self._units = Units()
        self._forms: list[_Form | None] = [None] * len(modules)
        self._waiting: dict[tuple[int, int, int], _Samples] = {}
        # mean x² and x⁴ of each module's last measurement, and up to which magnitude its outputs are sampled then
        self._spread = np.zeros((len(modules), 2))
        self._limits, self._watched = [0.0] * len(modules), [False] * len(modules)

    def forget(self) -> None:
        """Drops what was read of a step that never ended."""
        self._rows.fill(0)
        self._largest.fill(0)
        self._units.forget()
        for samples in self._waiting.values():
            samples.forget()

    def add(self, leaf: int, output: Tensor) -> None:
        """Reads one output of the module at this position."""
        form = self._forms[leaf]
        if form is None or form.known != (output.shape, output.stride(), output.dtype) or not output.is_cpu:
            form = self._formed(leaf, output)
            if form is None:
                return
        values = output.detach()
        if form.order is not None:
            values = values.permute(form.order)
        largest, reach = 0.0, None
        if not form.sample.whole:
            if self._watched[leaf]:
                reach = _reach(values, form, type(self._modules[leaf]) not in _NEVER_NEGATIVE)
                largest = max([each.max().item() for each in reach])
            else:
                low, high = torch.aminmax(values)
                largest = max(-low.item(), high.item())
            if not _SMALLEST < largest < self._limits[leaf]:  # NaN is not
                self._add_whole(leaf, values.view(form.table), 1)
                return
        samples = self._waiting.get(form.table)
        if samples is None:
            samples = self._waiting[form.table] = _Samples(form)
        _copy(values, form, samples.room())
        if reach is not None:
            samples.reach[len(samples.leaves)] = reach
        samples.leaves.append(leaf)
        samples.largest.append(largest)
        if len(samples.leaves) == _HELD:
            self._add_rows(*self._looked_at(samples))

    def _formed(self, leaf: int, output: Tensor) -> _Form | None:
        """Of an output that is not as the last one was; None where it is read as a whole, which is done then."""
        output, axis = output.detach(), channel_axis(self._modules[leaf], output)
        self._forms[leaf] = None
        if axis is None or not output.numel() or output.dtype not in NARROW or not output.is_cpu:
            self._add_whole(leaf, output, axis)
            return None
        strides: tuple[int, ...] = output.stride()
        axes = range(output.ndim)
        order = list(axes) if output.is_contiguous() else sorted(axes, key=lambda each: -strides[each])
        if not (lying := output.permute(order)).is_contiguous():
            self.add(leaf, output.contiguous())
            return None
        at = order.index(axis)
        channels, inner = lying.shape[at], lying.shape[at + 1 :].numel()
        table = output.numel() // (channels * inner), channels, inner
        sample = sample_of(*table)
        form = _Form(
            (output.shape, output.stride(), output.dtype),
            None if output.is_contiguous() else order,
            tuple(each for each in range(output.ndim) if each != at),
            table, output.numel(), sample, tuple(4 * each for each in sample.strides),
        )  # fmt: skip
        self._forms[leaf] = form
        self._limits[leaf] = _limit(self._spread[leaf, 0], self._spread[leaf, 1], form.elements)
        return form

    @np.errstate(invalid="ignore", over="ignore")
    def _add_whole(self, leaf: int, output: Tensor, axis: int | None) -> None:
        if output.numel() == 0:
            return
        found = read(output, axis, self._bounds[leaf])
        self._add_rows([leaf], np.append(found.row.cpu().numpy(), output.numel())[None])
        if found.squares is not None and found.alive is not None:
            squares = found.squares.cpu().double().numpy()
            self._units.add([leaf], squares[None], 1, found.alive.cpu().numpy()[None], np.zeros(1))

    def _add_rows(self, leaves: list[int], rows: Float64Array) -> None:
        np.add.at(self._rows, leaves, rows)
        np.maximum.at(self._largest, leaves, rows[:, LARGEST])

    @np.errstate(invalid="ignore")
    def _looked_at(self, samples: _Samples) -> tuple[list[int], Float64Array]:
        """Modules and their rows of all that wait together: small operations cost more than what they compute."""
        leaves, tables, largest = (
            self._simple(samples) if samples.sample.whole else (samples.leaves, samples.tables(), samples.largest)
        )
        rows = np.zeros((len(leaves), _COLUMNS))
        if leaves:
            found = look_at(tables, samples.sample)
            rows[:, :4], rows[:, ZEROS] = found.powers, found.zeros
            for at, leaf in enumerate(leaves):
                if (bounds := self._bounds[leaf]) is not None:
                    rows[at, SATURATED] = _outside(tables[at], bounds)
            rows *= samples.elements
            rows[:, LARGEST], rows[:, _ELEMENTS] = largest, samples.elements
            for at, reach in samples.reach.items():
                found.alive[at] = np.logical_or.reduce(reach)
            self._units.add(leaves, found.squares, samples.elements / tables[0].size, found.alive, found.variances)
        samples.forget()
        return leaves, rows

    def _simple(self, samples: _Samples) -> tuple[list[int], Float32Array, Float32Array]:
        """Modules, tables and largest magnitudes of whole outputs that wait; but for what float32 does not hold."""
        leaves, tables = samples.leaves, samples.tables()
        flat = tables.reshape(len(tables), -1)
        largest: Float32Array = np.maximum(flat.max(1), -flat.min(1))
        held = [at for at, each in enumerate(largest.tolist()) if each == 0 or _SMALLEST < each < _LARGEST]
        if len(held) == len(leaves):
            return leaves, tables, largest
        for at in sorted(set(range(len(leaves))) - set(held)):
            self._add_whole(leaves[at], torch.from_numpy(tables[at]), 1)
        return [leaves[at] for at in held], tables[held], largest[held]

    def summary(self, window: int) -> Float32Array | None:
        """(metrics, modules) of all that was read since the last call; None of nothing."""
        # of lengths that come once, nothing is kept
        self._waiting = {table: samples for table, samples in self._waiting.items() if samples.leaves}
        for leaves, rows in map(self._looked_at, self._waiting.values()):
            self._add_rows(leaves, rows)
        called = np.flatnonzero(self._rows[:, _ELEMENTS])
        if not len(called):
            return None
        table = np.full((self._metrics, len(self._modules)), ABSENT_BITS, dtype=np.uint32).view(np.float32)
        rows = self._rows[called]
        with np.errstate(all="ignore"):
            means = rows / rows[:, _ELEMENTS, None]
            sizes = [means[:, 0], np.sqrt(means[:, SQUARES]), self._largest[called]]
            table[:5, called] = [*sizes, means[:, ZEROS], rows[:, NONFINITE]]
            shaped, kurtosis = _kurtosis(means[:, :4])
            table[5, called[shaped]] = kurtosis[shaped]
            if bounded := [row for row, leaf in enumerate(called.tolist()) if self._bounds[leaf] is not None]:
                table[6, called[bounded]] = means[bounded, SATURATED]
            if (told := self._units.told(window)) is not None:
                table[7:9, told.leaves] = told.dead, told.outliers
                table.view(np.uint32)[8, told.leaves[~told.known]] = ABSENT_BITS
                for leaf, silent in zip(told.leaves.tolist(), told.silent.tolist(), strict=True):
                    self._watched[leaf] = silent or window == 1
        self._spread[called] = means[:, [SQUARES, _FOURTHS]]
        for leaf, (square, fourth) in zip(called.tolist(), self._spread[called].tolist(), strict=True):
            if (form := self._forms[leaf]) is not None:
                self._limits[leaf] = _limit(square, fourth, form.elements)
        self.forget()
        return table

    def silence(self) -> tuple[dict[int, Tensor], dict[int, int]]:
        """For how many measurements each channel has been silent, and how many there were, by the module's position."""
        silent, measured = self._units.silence()
        return {leaf: torch.from_numpy(of_channels) for leaf, of_channels in silent.items()}, measured

    def take_up(self, silent: Mapping[int, Tensor], measured: Mapping[int, int]) -> None:
        """What `silence` gave; drops what was read of a step that never ended."""
        self.forget()
        self._units.take_up({leaf: each.cpu().to(torch.int32).numpy() for leaf, each in silent.items()}, measured)


def _reach(values: Tensor, form: _Form, negative: bool) -> list[Float32Array]:
    """How far each unit gets above 0 and below it; `negative`: whether some may be below."""
    outer, channels, inner = form.table
    if inner == 1 and values.dtype == torch.float32:  # numpy is quicker, but where runs are short
        table = values.numpy().reshape(outer, channels)
        return [table.max(0), -table.min(0)] if negative else [table.max(0)]
    high: Float32Array = values.amax(form.others).float().numpy()
    return [high, -values.amin(form.others).float().numpy()] if negative else [high]


def _copy(values: Tensor, form: _Form, row: Float32Array) -> None:
    """The sample of a contiguous tensor."""
    shape, strides, offset = form.sample[:3]
    if values.dtype == torch.float32:  # numpy's views cost a fraction of torch's
        row[...] = np.ndarray(shape, _FLOAT, values.numpy(), 4 * offset, form.strides)
    else:
        torch.from_numpy(row).copy_(values.as_strided(shape, strides, values.storage_offset() + offset))


def _limit(square: float, fourth: float, elements: int) -> float:
    """Up to which magnitude so many elements are sampled, whose last mean square and fourth power are known."""
    limit = min(sqrt(sqrt(_OF_FOURTHS * elements * fourth)), sqrt(_OF_SQUARES * elements * square))
    return min(limit, _LARGEST) if limit < inf else 0.0  # NaN is not


def _outside(elements: Float32Array, bounds: Bounds) -> float:
    """Share of elements."""
    return int(np.count_nonzero((elements <= bounds[0]) | (elements >= bounds[1]))) / elements.size


def _kurtosis(means: Float64Array) -> tuple[npt.NDArray[np.bool_], Float64Array]:
    """Of (n, 4) mean powers, which have a shape, and the fourth central moment over the squared variance."""
    mean, s2, s3, s4 = means.T
    square = mean * mean
    variance = s2 - square
    fourth = s4 - 4 * mean * s3 + 6 * square * s2 - 3 * square * square
    return ~(variance <= _ROUNDING * s2), fourth / (variance * variance)
