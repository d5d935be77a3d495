"""Where weights were before a step, and how far it moved them."""

from collections.abc import Sequence
from operator import attrgetter, is_
from typing import NamedTuple

import torch
from torch import Tensor

from gyrostat.probes.copies import Copies
from gyrostat.probes.norms import norms
from gyrostat.probes.samples import Samples, plain

_version = attrgetter("_version")


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
    """What tells plain tensors, and what was written to them, without a look at their elements.

    The address would tell a new dtype, but for one with elements of the same size: there is none for parameters.
    """

    addresses: list[int]
    sizes: list[int]
    versions: list[int]


class Trail:
    """What tensors were before a step, held against what they are after it.

    Of small float32 tensors on a CPU all elements are copied, of large ones a sample; of any others all. Where a step
    follows on the last one that was measured, norms and samples of that one's end are known: nothing is read before
    such a step, and of large tensors little after it, since norms are those of the step before and what the sample
    gained. That they still hold is told by where the tensors lie, by their versions, and by a look at some of their
    elements.

    Args:
        device: where results are put together.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._copies = Copies()
        self._tensors: list[Tensor] = []
        self._left = _State([], [], [])
        self._samples: Samples | None = None
        self._places: tuple[list[int], ...] = ()  # addresses and sizes that samples are taken by
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
            return
        self._tensors, self._kept, places = list(tensors), False, _state(tensors)[:2]
        if same and self._samples is not None and places == self._places:
            self._norms = self._samples.take(tensors)
        elif tensors and plain(tensors):
            self._samples, self._places, self._before = Samples(tensors), places, []
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
        if self._left[:2] != self._places:
            self._samples.move_to(self._tensors)
            self._places = self._left[:2]
        self._kept, before = True, self._norms
        self._norms, moved = self._samples.ways(self._tensors)
        return Way(self._norms, moved, before)

    def _by_torch(self, moved: list[Tensor]) -> Way:
        before, now = norms(self._before, self._device), norms(moved, self._device)
        if moved:
            torch._foreach_sub_(self._before, moved)
        return Way(*(found.contiguous() for found in (now, norms(self._before, self._device), before)))


def _state(tensors: Sequence[Tensor]) -> _State:
    return _State(list(map(Tensor.data_ptr, tensors)), list(map(Tensor.numel, tensors)), list(map(_version, tensors)))
