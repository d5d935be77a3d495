"""Elements of large tensors that tell how far they go, and how their norms change, without a look at all of them."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gyrostat.probes.chunks import SMALL
from gyrostat.probes.native import kernels
from gyrostat.probes.norms import host_norms, norms
from gyrostat.wire.values import Float32Array

WHOLE = 65_535
"""Larger tensors are followed by a sample of their elements."""

_RUN, _LINE, _LEAST, _EACH = 32, 16, 512, 2048
"""Of a sample: elements of a run; those of a line of the cache, with which runs begin; runs at least, evenly spread; of
larger tensors one for each so many elements. Where the kurtosis of a way's elements is κ, its norm has a standard error
of √((κ − 1)/16384)/2 at most: 0.6 % if they are about normal."""

LOOKS = 16
"""Of so many steps in a row, at least one reads all elements of a large tensor."""

_FARTHEST = 0.01
"""So does each step that ends a path of more than this, in units of the norm, since all elements were read last. On the
way there a norm is what it was and what the sample gained: with a standard error of √(2/16384) of the path at most
where weights are about normal and all grow or shrink together, and less where each moves for itself."""

_ROW = 256
"""Elements that float32 adds up without the kernel, which adds those of small tensors up in float64, as `norms` does.
Copies of a tensor begin with a row, and end with zeros."""

_SMALLEST, _LARGEST = 1e-30, 1e36
"""Between these, sums of squares in float32 neither lack what vanished nor overflow in a way that would show."""

_PLACES = 8
"""Elements of a tensor that are looked at to tell whether it is still what it was."""


class Spread(NamedTuple):
    """Which elements of a tensor are followed: `runs` of `_RUN`, a `stride` apart; all where there are none."""

    runs: int
    stride: int


def spread(elements: int) -> Spread:
    """Of a tensor that has so many.

    Runs begin a prime number of lines from each other, so that they meet every column of nearly any matrix.
    """
    if elements <= WHOLE:
        return Spread(0, 0)
    lines = min(elements // _LEAST, _EACH) // _LINE
    stride = _LINE * next(k for k in range(lines, 1, -1) if all(k % divisor for divisor in range(2, k)))
    return Spread((elements - _RUN) // stride + 1, stride)


def plain(tensors: Sequence[Tensor]) -> bool:
    """Whether samples may be taken of them: float32 on a CPU, dense in memory."""
    return all(t.dtype == torch.float32 and t.is_cpu and t.is_contiguous() for t in tensors)


class _Copies:
    """Memory for what is followed: of one tensor after the other, each from the beginning of a row."""

    def __init__(self, shapes: Sequence[tuple[int, ...]], places: Sequence[int], length: int) -> None:
        # of torch, so that the session counts it
        self._memory = torch.zeros(length, dtype=torch.float32, device="cpu")
        self.address = self._memory.data_ptr()
        elements: Float32Array = self._memory.numpy()
        self.rows = elements.reshape(-1, _ROW)
        pairs = zip(places, shapes, strict=True)
        self.rooms = [elements[place : place + math.prod(shape)].reshape(shape) for place, shape in pairs]
        self.looks = _looks(self.rooms)
        self.items = [_items(room) for room in self.rooms]


class Samples:
    """What is followed of plain tensors, as it was when it was looked at last, and the tensors' norms.

    Raises:
        ValueError: one is of another kind.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        count = len(tensors)
        self._sizes = [tensor.numel() for tensor in tensors]
        self._spreads = [spread(size) for size in self._sizes]
        shapes = [(of.runs, _RUN) if of.runs else (n,) for n, of in zip(self._sizes, self._spreads, strict=True)]
        taken = [math.prod(shape) for shape in shapes]
        self._shares = [size / max(1, each) for size, each in zip(self._sizes, taken, strict=True)]
        rows = [max(1, -(-each // _ROW)) for each in taken]
        # those whose squares are added up in float64 come last
        order = sorted(range(count), key=lambda at: self._sizes[at] <= SMALL)
        self._positions = np.argsort(order).tolist()
        ends = np.cumsum([rows[at] for at in order])
        self._first_rows = np.concatenate(([0], ends[:-1]))
        self._wide = slice(sum(rows) - sum(rows[at] for at, size in enumerate(self._sizes) if size <= SMALL), sum(rows))
        self._places: list[int] = (self._first_rows[self._positions] * _ROW).tolist()
        self._room = partial(_Copies, shapes, self._places, sum(rows) * _ROW)
        self._copies = [self._room()]  # and where there is no kernel, those of the look before, which are done with
        self._sums = np.empty((2, sum(rows)))
        self._squares: list[float] = []  # of what is followed, where they are known
        # each step's norms are the next one's before
        found = torch.zeros(4, count, dtype=torch.float64, device="cpu")
        self._norms, self._moved, self._paths = [found[0], found[1]], found[2], found[3]
        self._due, self._turn = _turns(self._sizes), 0
        self._due_rows = [row.ctypes.data for row in self._due]
        self.move_to(tensors)

    def move_to(self, tensors: Sequence[Tensor]) -> None:
        """They lie elsewhere now.

        Raises:
            ValueError: one is of another kind.
        """
        if [tensor.numel() for tensor in tensors] != self._sizes or not plain(tensors):
            raise ValueError("a parameter has another size or dtype after the step, so its update has no norm")
        views = [_followed(tensor, of) for tensor, of in zip(tensors, self._spreads, strict=True)]
        self._looks, self._items = _looks(views), [_items(view) for view in views]
        places = zip([tensor.data_ptr() for tensor in tensors], self._sizes, self._spreads, self._places, strict=True)
        self._table = np.array([(address, size, *of, place) for address, size, of, place in places], dtype=np.int64)
        self._address: int = self._table.ctypes.data

    def take(self, tensors: Sequence[Tensor]) -> Tensor:
        """Copies what is followed; answers the tensors' norms."""
        self._squares, found = [], self._norms[0]
        self._paths.zero_()
        if (library := kernels.library) is None:
            self._copy()
            found.copy_(norms(tensors, tensors[0].device))
        else:
            library.gyrostat_sample(len(tensors), self._address, self._copies[0].address, found.data_ptr())
        return found

    def ways(self, tensors: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The tensors' norms, and those of their ways since the last look; this one counts from now on."""
        self._norms.reverse()
        found, before = self._norms
        self._turn = (self._turn + 1) % LOOKS
        if (library := kernels.library) is None:
            self._find_ways(tensors)
        else:
            self._squares = []
            library.gyrostat_ways(
                len(tensors), self._address, self._due_rows[self._turn], _FARTHEST, self._copies[0].address,
                before.data_ptr(), self._paths.data_ptr(), found.data_ptr(), self._moved.data_ptr(),
            )  # fmt: skip
        return found, self._moved

    def still_hold(self) -> bool:
        """Whether some of the elements are what they were."""
        if (library := kernels.library) is not None:
            return bool(library.gyrostat_alike(len(self._sizes), self._address, self._copies[0].address))
        now, then = np.concatenate(self._looks), np.concatenate(self._copies[0].looks)
        return now.tobytes() == then.tobytes()

    def _copy(self) -> None:
        for room, view in zip(self._copies[0].items, self._items, strict=True):
            room[...] = view

    def _find_ways(self, tensors: Sequence[Tensor]) -> None:
        """What `gyrostat_ways` does, in few operations on all copies, since each is slow so soon after a step."""
        squares, gains, ways = self._sums_of_squares()
        before, paths, due = self._norms[1].tolist(), self._paths.tolist(), self._due[self._turn].tolist()
        found, looked_at = [0.0] * len(tensors), []
        for at, (of, share) in enumerate(zip(self._spreads, self._shares, strict=True)):
            held = _SMALLEST < squares[at] < _LARGEST
            if not _SMALLEST < ways[at] < _LARGEST:
                ways[at] = _wide_squares(self._copies[1].rooms[at])
            ways[at] = math.sqrt(ways[at] * share)
            if not of.runs:
                found[at] = math.sqrt(squares[at] if held else _wide_squares(self._copies[0].rooms[at]))
                continue
            now = before[at] * before[at] + gains[at] * share
            paths[at] += ways[at] / before[at] if before[at] else math.inf
            if held and not due[at] and paths[at] <= _FARTHEST and 0 <= now < math.inf:
                found[at] = math.sqrt(now)
            else:
                looked_at.append(at)
        for at, norm in zip(looked_at, host_norms([tensors[at].detach() for at in looked_at]), strict=True):
            found[at], paths[at] = norm, 0.0
        for told, values in ((self._norms[0], found), (self._moved, ways), (self._paths, paths)):
            told.numpy()[:] = values

    def _sums_of_squares(self) -> tuple[list[float], list[float], list[float]]:
        """Of what is followed now: Σx², what it gained since the last look, and Σ(x − then)², which is left behind."""
        with np.errstate(over="ignore", invalid="ignore"):
            then = self._squares or self._added(np.vecdot(self._copies[0].rows, self._copies[0].rows)[None])[0]
            self._copies = [self._copies[1] if len(self._copies) > 1 else self._room(), self._copies[0]]
            self._copy()
            now, away = (copies.rows for copies in self._copies)
            np.subtract(now, away, out=away)
            np.vecdot(now, now, out=self._sums[0])
            np.vecdot(away, away, out=self._sums[1])
            few = now[self._wide].astype(np.float64)
            np.vecdot(few, few, out=self._sums[0, self._wide])
        self._squares, ways = self._added(self._sums)
        return self._squares, [one - other for one, other in zip(self._squares, then, strict=True)], ways

    def _added(self, rows: npt.NDArray[Any]) -> list[list[float]]:
        """Sums over each tensor's rows."""
        added = np.add.reduceat(rows, self._first_rows, axis=1, dtype=np.float64).tolist()
        return [[of_one[position] for position in self._positions] for of_one in added]


def _wide_squares(elements: Float32Array) -> float:
    if not elements.any():  # nearly always, where they are too small for float32
        return 0.0
    wide = elements.reshape(-1).astype(np.float64)
    return float(wide @ wide)


def _followed(tensor: Tensor, of: Spread) -> Float32Array:
    """(runs, elements) of a plain tensor, or all of it."""
    if of.runs:
        return tensor.detach().as_strided((of.runs, _RUN), (of.stride, 1)).numpy()
    return tensor.detach().view(-1).numpy()


def _looks(views: Sequence[Float32Array]) -> list[Float32Array]:
    """Some of the elements, evenly spread."""
    firsts = [view[:, 0] if view.ndim == 2 else view for view in views]
    return [view[:: max(1, len(view) // _PLACES)] for view in firsts]


def _items(view: Float32Array) -> npt.NDArray[Any]:
    """The same memory, whose runs are one item each: numpy copies these in less time than their elements."""
    return view.view(f"V{view.itemsize * _RUN}") if view.ndim == 2 else view


def _turns(sizes: Sequence[int]) -> npt.NDArray[np.int32]:
    """(LOOKS, n): which tensors are read as a whole at which step, about as many elements at each."""
    large = np.array([size if size > WHOLE else 0 for size in sizes])
    middles = np.cumsum(large) - large / 2
    turns: npt.NDArray[np.int32] = np.equal.outer(np.arange(LOOKS), middles * LOOKS // max(1, large.sum())).astype(
        np.int32
    )
    return turns
