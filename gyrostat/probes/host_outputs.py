"""What a step's outputs come to, read by the C kernel on a CPU: one call an output, and one for all at the end."""

import ctypes
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from gyrostat.probes.channels import SATURATED, Bounds, channel_axis, read
from gyrostat.probes.moments import KINDS, LARGEST, NARROW
from gyrostat.wire.values import ABSENT_BITS, Float32Array

_COLUMNS = SATURATED + 3
_ELEMENTS, _CALLS = SATURATED + 1, SATURATED + 2
"""Of a row: `Moments`, saturated elements, all elements, calls whose channels were read."""


class _Reading(ctypes.Structure):
    """As channels.c has it."""

    _fields_: ClassVar = [
        ("outer", ctypes.c_int64), ("channels", ctypes.c_int64), ("inner", ctypes.c_int64),
        ("low", ctypes.c_float), ("high", ctypes.c_float), ("kind", ctypes.c_int32), ("measured", ctypes.c_int32),
        ("row", ctypes.c_void_p), ("squares", ctypes.c_void_p), ("alive", ctypes.c_void_p),
        ("silent", ctypes.c_void_p),
    ]  # fmt: skip


class HostOutputs:
    """Reads outputs of modules; what it knows of a module's last output is most of what it needs for the next one.

    Args:
        modules: all, in the order of the results.
        bounds: of each, between which its outputs are not saturated.
        metrics: how many there are.
    """

    def __init__(
        self, modules: Sequence[nn.Module], bounds: Sequence[Bounds | None], metrics: int, library: ctypes.CDLL
    ) -> None:
        self._modules, self._bounds, self._metrics, self._library = modules, bounds, metrics, library
        self._read = library.gyrostat_read_output
        self._rows = np.zeros((len(modules), _COLUMNS))
        self._readings = (_Reading * len(modules))()
        self._address = ctypes.addressof(self._readings)
        self._table = np.empty((metrics, len(modules)), dtype=np.float32)
        self._table_address = self._table.ctypes.data
        for leaf, reading in enumerate(self._readings):
            reading.low, reading.high = bounds[leaf] or (0.0, 0.0)
            reading.row = self._rows[leaf].ctypes.data
        self._forms: list[tuple[torch.Size, tuple[int, ...], torch.dtype] | None] = [None] * len(modules)
        self._squares: dict[int, Tensor] = {}
        self._alive: dict[int, Tensor] = {}
        self._silent: dict[int, Tensor] = {}
        self._aside: dict[tuple[int, int], tuple[Tensor, int]] = {}

    def add(self, leaf: int, output: Tensor) -> None:
        """Reads one output of the module at this position."""
        if output.is_cpu and self._forms[leaf] == (output.shape, output.stride(), output.dtype):
            self._read(output.data_ptr(), self._address + leaf * _SIZE)
        elif output.numel():
            self._add_another(leaf, output.detach())

    def _add_another(self, leaf: int, output: Tensor) -> None:
        """One that is not as the last one was."""
        axis = channel_axis(self._modules[leaf], output)
        self._forms[leaf] = None
        if axis is None or not output.is_cpu or output.dtype not in NARROW:
            self._add_by_torch(leaf, output, axis)
            return
        form = output.shape, output.stride(), output.dtype
        if not output.is_contiguous():
            # as memory holds it: channels-last images are rows of channels
            order = sorted(range(output.ndim), key=lambda each: -form[1][each])
            output, axis = output.permute(order), order.index(axis)
        if output.is_contiguous():
            self._forms[leaf] = form
        output = output.contiguous()
        self._make_room(leaf, output.shape[axis])
        reading, inner = self._readings[leaf], output.shape[axis + 1 :].numel()
        reading.outer, reading.inner = output.numel() // (output.shape[axis] * inner), inner
        reading.kind = KINDS[output.dtype]
        self._read(output.data_ptr(), self._address + leaf * _SIZE)

    def _make_room(self, leaf: int, channels: int) -> None:
        if leaf in self._squares and len(self._squares[leaf]) == channels:
            return
        self._squares[leaf] = torch.zeros(channels, dtype=torch.float64, device="cpu")
        self._alive[leaf] = torch.zeros(channels, dtype=torch.bool, device="cpu")
        reading = self._readings[leaf]
        if leaf not in self._silent or len(self._silent[leaf]) != channels:
            # a module that is called with several widths counts for each of them: the last one of a step is told
            if leaf in self._silent:
                self._aside[leaf, len(self._silent[leaf])] = (self._silent[leaf], reading.measured)
            fresh = (torch.zeros(channels, dtype=torch.int32, device="cpu"), 0)
            self._silent[leaf], reading.measured = self._aside.pop((leaf, channels), fresh)
        self._rows[leaf, _CALLS] = 0
        reading.channels, reading.squares = channels, self._squares[leaf].data_ptr()
        reading.alive, reading.silent = self._alive[leaf].data_ptr(), self._silent[leaf].data_ptr()

    def _add_by_torch(self, leaf: int, output: Tensor, axis: int | None) -> None:
        found, row = read(output, axis, self._bounds[leaf]), self._rows[leaf]
        here = found.row.cpu().numpy()
        largest = np.maximum(row[LARGEST], here[LARGEST])
        row[: SATURATED + 1] += here
        row[LARGEST] = largest
        row[_ELEMENTS] += output.numel()
        if found.squares is None or found.alive is None:
            return
        self._make_room(leaf, len(found.squares))
        self._squares[leaf] += found.squares.cpu()
        self._alive[leaf] |= found.alive.cpu()
        row[_CALLS] += 1

    def forget(self) -> None:
        """Drops what was read of a step that never ended."""
        self._library.gyrostat_forget_outputs(len(self._modules), self._address)

    def summary(self, window: int) -> Float32Array | None:
        """(metrics, modules) of all that was read since the last call; None of nothing."""
        told = self._library.gyrostat_summarize_outputs(
            len(self._modules), self._address, window, self._metrics, _ABSENT, self._table_address
        )
        return self._table.copy() if told else None

    def silence(self) -> tuple[dict[int, Tensor], dict[int, int]]:
        """For how many measurements each channel has been silent, and how many there were, by the module's position."""
        return dict(self._silent), {leaf: self._readings[leaf].measured for leaf in self._silent}

    def take_up(self, silent: Mapping[int, Tensor], measured: Mapping[int, int]) -> None:
        """What `silence` gave; drops what was read of a step that never ended."""
        self.forget()
        for leaf, of_channels in silent.items():
            self._silent[leaf] = of_channels.to(torch.int32).clone()
            self._squares.pop(leaf, None)
            self._forms[leaf] = None
            # no address stays of what is given up here
            reading = self._readings[leaf]
            reading.squares, reading.measured = None, measured.get(leaf, 0)


_SIZE, _ABSENT = ctypes.sizeof(_Reading), int(ABSENT_BITS)
