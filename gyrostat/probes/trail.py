"""Where weights were before a step, and how far it moved them."""

from collections.abc import Sequence
from operator import is_
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gyrostat.probes.copies import Copies
from gyrostat.probes.moments import addressed
from gyrostat.probes.native import kernels
from gyrostat.probes.norms import host_norms, norms
from gyrostat.wire.values import Float32Array

WHOLE = 65_536
"""Larger float32 tensors are followed by a sample of their elements."""

_RUNS, _RUN, _EACH = 1024, 16, 1024
"""Of a sample: runs at least, evenly spread, each a line of the cache; of larger tensors one for each so many elements.
Where the kurtosis of a way's elements is κ, its norm has a standard error of √((κ − 1)/16384)/2 at most: 0.6 % if they
are about normal. As vectors.c has them."""

_LOOKS = 8
"""Elements of a tensor that are looked at to tell whether it is still what it was."""


class Way(NamedTuple):
    """Of n tensors, each (n,), contiguous, in float64 where the device has that, until the next step's.

    Attributes:
        now: their norms.
        moved: norms of now − before.
        before: what their norms were.
    """

    now: Tensor
    moved: Tensor
    before: Tensor


class _State(NamedTuple):
    """What tells tensors, and what was written to them, without a look at their elements."""

    forms: list[tuple[int, torch.Size, torch.dtype]]
    versions: list[int]


class Trail:
    """What tensors were before a step, held against what they are after it.

    Of small float32 tensors on a CPU all elements are copied, of large ones a sample; of any others all. Where a step
    follows on the last one that was measured, norms and samples of that one's end are known: nothing is read before
    such a step. That they still hold is told by where the tensors lie, by their versions, and by a look at some of
    their elements.

    Args:
        device: where results are put together.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._copies = Copies()
        self._tensors: list[Tensor] = []
        self._marked = self._left = _State([], [])
        self._samples: _Samples | None = None
        self._before: list[Tensor] = []
        self._norms: Tensor = torch.empty(0)
        self._kept = self._looked = False

    def begin(self, *, unfinished: bool) -> None:
        """A step begins; `unfinished`: the last one that was marked never ended."""
        self._looked = False
        if unfinished:
            self._kept = False

    def mark(self, tensors: Sequence[Tensor]) -> None:
        """Before the optimizer's step: notes where they are."""
        same = len(tensors) == len(self._tensors) and all(map(is_, tensors, self._tensors))
        known = same and (self._looked or self.holds())
        self._looked = False
        if known:
            self._marked = self._left
            return
        self._tensors, self._marked, self._kept = list(tensors), _state(tensors), False
        if tensors and _plain(tensors):
            self._samples, self._before = _Samples(tensors), []
            self._norms = self._samples.take(tensors)
        else:
            copies = self._copies.of({str(at): tensor for at, tensor in enumerate(tensors)})
            self._samples, self._before = None, list(copies.values())

    def holds(self) -> bool:
        """Whether the tensors that were marked last are as the step left them."""
        self._looked = (
            self._kept
            and self._samples is not None
            and _state(self._tensors) == self._left
            and self._samples.still_hold()
        )
        return self._looked

    def way(self) -> Way:
        """After the step, of the tensors that were marked."""
        self._left, self._kept = _state(self._tensors), False
        if self._samples is None:
            return self._by_torch([tensor.detach() for tensor in self._tensors])
        if self._left.forms != self._marked.forms:
            self._samples.move_to(self._tensors)
        self._kept, before = True, self._norms
        self._norms, moved = self._samples.ways(self._tensors)
        return Way(self._norms, moved, before)

    def _by_torch(self, moved: list[Tensor]) -> Way:
        before, now = norms(self._before, self._device), norms(moved, self._device)
        if moved:
            torch._foreach_sub_(self._before, moved)
        return Way(*(found.contiguous() for found in (now, norms(self._before, self._device), before)))


class _Samples:
    """Elements of plain tensors, one tensor after the other, as they were when they were looked at last."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._sizes = [taken(tensor.numel()) for tensor in tensors]
        self._shares = np.sqrt([t.numel() / max(1, size) for t, size in zip(tensors, self._sizes, strict=True)])
        self._elements = torch.empty(sum(self._sizes))
        # each step's norms are the next one's before
        self._norms = [torch.empty(len(tensors), dtype=torch.float64) for _ in range(2)]
        self._moved = torch.empty(len(tensors), dtype=torch.float64)
        self.move_to(tensors)

    def move_to(self, tensors: Sequence[Tensor]) -> None:
        """They lie elsewhere now.

        Raises:
            ValueError: one is of another kind.
        """
        if [taken(tensor.numel()) for tensor in tensors] != self._sizes or not _plain(tensors):
            raise ValueError("a parameter has another size or dtype after the step, so its update has no norm")
        self._places = addressed(tensors)
        self._views = [_followed(tensor) for tensor in tensors]

    def take(self, tensors: Sequence[Tensor]) -> Tensor:
        """Copies them; answers the tensors' norms."""
        if (library := kernels.library) is None:
            self._elements = self._now()
            self._norms[0].copy_(norms(tensors, tensors[0].device))
        else:
            library.gyrostat_sample(*self._places, self._elements.data_ptr(), self._norms[0].data_ptr())
        return self._norms[0]

    def ways(self, tensors: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The tensors' norms, and those of their ways since the last look; this one counts from now on."""
        self._norms.reverse()
        found = self._norms[0]
        if (library := kernels.library) is None:
            old, self._elements = self._elements, self._now()
            ways = host_norms(torch.split(self._elements - old, self._sizes))
            self._moved.copy_(torch.from_numpy(ways * self._shares))
            found.copy_(torch.from_numpy(host_norms([tensor.detach() for tensor in tensors])))
        else:
            elements = self._elements.data_ptr()
            library.gyrostat_ways(*self._places, elements, found.data_ptr(), self._moved.data_ptr())
        return found, self._moved

    def _now(self) -> Tensor:
        found, end = np.empty(sum(self._sizes), dtype=np.float32), 0
        for view in self._views:
            start, end = end, end + view.size
            found[start:end].reshape(view.shape)[...] = view
        return torch.from_numpy(found)

    def still_hold(self) -> bool:
        """Whether some of them are what they were."""
        if (library := kernels.library) is not None:
            return bool(library.gyrostat_alike(*self._places, self._elements.data_ptr()))
        known, end = self._elements.numpy(), 0
        for view in self._views:
            start, end = end, end + view.size
            step = max(1, len(view) // _LOOKS)
            if view[::step].tobytes() != known[start:end].reshape(view.shape)[::step].tobytes():
                return False
        return True


def taken(elements: int) -> int:
    """How many are followed of a plain tensor that has so many."""
    return elements if elements <= WHOLE else _runs(elements) * _RUN


def _runs(elements: int) -> int:
    return max(_RUNS, elements // _EACH)


def _state(tensors: Sequence[Tensor]) -> _State:
    return _State([(t.data_ptr(), t.shape, t.dtype) for t in tensors], [t._version for t in tensors])


def _plain(tensors: Sequence[Tensor]) -> bool:
    """Whether kernels and samples take them: float32 on a CPU, dense in memory."""
    return all(t.dtype == torch.float32 and t.is_cpu and t.is_contiguous() for t in tensors)


def _followed(tensor: Tensor) -> Float32Array:
    """(runs, elements) of a plain tensor, or all of it.

    Runs begin an odd number of elements from each other, so that they meet every column of a matrix.
    """
    elements = tensor.numel()
    if elements <= WHOLE:
        return tensor.detach().view(-1).numpy()
    runs = _runs(elements)
    return tensor.detach().as_strided((runs, _RUN), (elements // runs - 1 | 1, 1)).numpy()
