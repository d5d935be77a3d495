"""Where weights were before a step, and how far it moved them."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gyrostat.probes.copies import Copies
from gyrostat.probes.moments import addressed
from gyrostat.probes.native import kernels
from gyrostat.probes.norms import norm, norms

Pairs = tuple[int, Any, Any, Any]

WHOLE = 65_536
"""Without the kernel, larger float32 tensors are followed by a sample of their elements."""

_RUNS, _RUN = 1024, 16
"""Of a sample: evenly spread, each a line of the cache. Where the kurtosis of a way's elements is κ, its norm has a
standard error of √((κ − 1)/16384)/2: 0.6 % if they are about normal."""

_LOOKS = 8
"""Elements of a tensor that are looked at to tell whether it is still what its copy is."""


class Way(NamedTuple):
    """Of n tensors, each (n,) in float64 where the device has that.

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

    names: list[str]
    forms: list[tuple[int, torch.Size, torch.dtype]]
    versions: list[int]


class Trail:
    """Copies of tensors, made before a step and held against what they are after it.

    On a CPU with the kernel each is one pass over memory; without it, of large tensors a sample is copied. Where a step
    follows on the last one that was measured, its copies are made after the last step's ways (by the kernel in the same
    pass), and norms are known: nothing is read before such a step. That they still hold is told by where the tensors
    lie, by their versions, and by a look at some of their elements.

    Args:
        device: where results are put together.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._copies = Copies()
        self._before: dict[str, Tensor] = {}
        self._norms: Tensor | None = None
        self._marked = self._left = _State([], [], [])
        self._pairs: Pairs | None = None
        self._samples = self._seen = torch.empty(0)
        self._kept = self._follows = self._sampled = self._looked = False

    def begin(self, *, unfinished: bool) -> None:
        """A step begins; `unfinished`: the last one that was marked never ended."""
        self._looked = False
        if unfinished:
            self._left = _State([], [], [])

    def mark(self, tensors: Mapping[str, Tensor]) -> None:
        """Before the optimizer's step: notes where they are."""
        self._marked, library = _state(tensors), kernels.library
        self._follows = bool(tensors) and self._left == self._marked
        known = self._kept and self._follows and self._sampled == (library is None)
        if known and (self._looked or self._alike(tensors)):
            return
        plain = _plain(tensors)
        self._pairs, self._norms, self._sampled = None, None, bool(tensors) and plain and library is None
        if self._sampled:
            self._before, self._samples = {}, _samples(tensors)
            self._norms = norms(list(tensors.values()), self._device)
        elif library is None or not plain:
            self._before = self._copies.of(tensors)
        else:
            self._before = self._copies.rooms(tensors)
            self._pairs = _pairs(tensors, self._before)
            self._norms = torch.empty(len(tensors), dtype=torch.float64)
            library.gyrostat_copy(*self._pairs, self._norms.data_ptr())

    def holds(self, tensors: Mapping[str, Tensor]) -> bool:
        """Whether the tensors that were marked, by name among these, are as the last step left them."""
        marked = {name: tensors[name] for name in self._marked.names}
        self._looked = self._kept and self._left == _state(marked) and self._alike(marked)
        return self._looked

    def way(self, tensors: Mapping[str, Tensor]) -> Way:
        """After the step, of those that were marked, by their names."""
        moved = {name: tensors[name].detach() for name in self._marked.names}
        self._left = _state(moved)
        fits = self._left.forms == self._marked.forms
        self._kept = self._follows and fits and (self._sampled or self._pairs is not None)
        if self._sampled:
            return self._by_samples(moved)
        if (library := kernels.library) is None or self._pairs is None or self._norms is None or not fits:
            return self._by_torch(moved)
        old = self._norms
        self._norms, ways = torch.empty(2, len(moved), dtype=torch.float64)
        library.gyrostat_ways(*self._pairs, int(self._kept), self._norms.data_ptr(), ways.data_ptr())
        return Way(self._norms, ways, old)

    def _by_samples(self, moved: Mapping[str, Tensor]) -> Way:
        assert self._norms is not None
        samples, old = _samples(moved), self._norms
        away, ways, end = samples - self._samples, [], 0
        for tensor in moved.values():
            size = tensor.numel() if tensor.numel() <= WHOLE else _RUNS * _RUN
            start, end = end, end + size
            ways.append(norm(away[start:end]) * math.sqrt(tensor.numel() / max(1, size)))
        self._norms = norms(list(moved.values()), self._device)
        if self._kept:
            self._samples, self._seen = samples, _seen(moved)
        return Way(self._norms, torch.tensor(ways, dtype=old.dtype), old)

    def _by_torch(self, moved: Mapping[str, Tensor]) -> Way:
        copies = list(self._before.values())
        old = norms(copies, self._device) if self._norms is None else self._norms
        now = norms(list(moved.values()), self._device)
        if copies:
            torch._foreach_sub_(copies, list(moved.values()))
        return Way(now, norms(copies, self._device), old)

    def _alike(self, tensors: Mapping[str, Tensor]) -> bool:
        """Whether some of the elements of tensors that are kept are what they were."""
        if kernels.library is None or self._pairs is None:
            return self._sampled and _seen(tensors).equal(self._seen)
        found = torch.empty(len(tensors), dtype=torch.bool)
        kernels.library.gyrostat_alike(*self._pairs, found.data_ptr())
        return bool(found.all())


def _state(tensors: Mapping[str, Tensor]) -> _State:
    each = tensors.values()
    return _State(list(tensors), [(t.data_ptr(), t.shape, t.dtype) for t in each], [t._version for t in each])


def _plain(tensors: Mapping[str, Tensor]) -> bool:
    """Whether kernels and samples take them: float32 on a CPU, dense in memory."""
    return all(t.dtype == torch.float32 and t.is_cpu and t.is_contiguous() for t in tensors.values())


def _samples(tensors: Mapping[str, Tensor]) -> Tensor:
    """Some elements of each of the plain tensors, copied one after the other; all where they are few.

    Runs begin an odd number of elements from each other, so that they meet every column of a matrix.
    """
    views = [
        t.view(-1) if t.numel() <= WHOLE else t.as_strided((_RUNS, _RUN), (t.numel() // _RUNS - 1 | 1, 1)).reshape(-1)
        for t in map(Tensor.detach, tensors.values())
    ]
    return torch.cat(views)


def _seen(tensors: Mapping[str, Tensor]) -> Tensor:
    """Some elements of plain tensors, together."""
    return torch.cat([t.detach().view(-1)[:: t.numel() // _LOOKS + 1] for t in tensors.values()])


def _pairs(tensors: Mapping[str, Tensor], copies: Mapping[str, Tensor]) -> Pairs:
    """As kernels take them: how many, where tensors and copies lie, how long they are."""
    count, addresses, lengths = addressed(list(tensors.values()))
    return count, addresses, addressed([copies[name] for name in tensors])[1], lengths
