"""Where weights were before a step, and how far it moved them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gyrostat.probes.copies import Copies
from gyrostat.probes.moments import addressed
from gyrostat.probes.native import kernels
from gyrostat.probes.norms import norms

_SAMPLES = 64
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


class Trail:
    """Copies of tensors, made before a step and held against what they are after it.

    On a CPU with the kernel each is one pass over memory. Where a step follows on the last one that was measured, its
    copies are made after the last step's ways (by the kernel in the same pass), and norms are known: nothing is read
    before such a step. That they still hold is told by the tensors' versions and by a look at some of their elements.

    Args:
        device: where results are put together.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._copies = Copies()
        self._before: dict[str, Tensor] = {}
        self._norms: Tensor | None = None
        self._left: dict[str, int] = {}
        self._kept = self._follows = False

    def mark(self, tensors: Mapping[str, Tensor]) -> None:
        """Before the step: notes where they are."""
        self._follows = bool(tensors) and self._left == _versions(tensors)
        if self._kept and self._follows and self._holds(tensors):
            return
        if (library := kernels.library) is None or not _plain(tensors):
            self._before, self._norms = self._copies.of(tensors), None
            return
        self._before = self._copies.rooms(tensors)
        self._norms = torch.empty(len(tensors), dtype=torch.float64)
        library.gyrostat_copy(*_pairs(tensors, self._before), self._norms.data_ptr())

    def holds(self, tensors: Mapping[str, Tensor]) -> bool:
        """Whether the tensors that were marked, by name among these, are as the last step left them."""
        marked = {name: tensors[name].detach() for name in self._before}
        return self._kept and self._left == _versions(marked) and self._holds(marked)

    def forget(self) -> None:
        """The step that was marked never ended."""
        self._left = {}

    def way(self, tensors: Mapping[str, Tensor]) -> Way:
        """After the step, of those that were marked, by their names."""
        moved = {name: tensors[name].detach() for name in self._before}
        old = norms(list(self._before.values()), self._device) if self._norms is None else self._norms
        self._left = _versions(moved)
        fits = _plain(moved) and _alike(moved, self._before)
        self._kept = self._follows and fits
        if (library := kernels.library) is None or not fits:
            return self._by_torch(moved, old)
        self._norms, ways = torch.empty(2, len(moved), dtype=torch.float64)
        pairs = _pairs(moved, self._before)
        library.gyrostat_ways(*pairs, int(self._kept), self._norms.data_ptr(), ways.data_ptr())
        return Way(self._norms, ways, old)

    def _by_torch(self, moved: Mapping[str, Tensor], old: Tensor) -> Way:
        copies, now = list(self._before.values()), norms(list(moved.values()), self._device)
        if copies:
            torch._foreach_sub_(copies, list(moved.values()))
        ways = norms(copies, self._device)
        if self._kept:
            torch._foreach_copy_(copies, list(moved.values()))
            self._norms = now
        return Way(now, ways, old)

    def _holds(self, tensors: Mapping[str, Tensor]) -> bool:
        if not _plain(tensors) or not _alike(tensors, self._before):
            return False
        if kernels.library is None:
            return all(_sampled(tensor).equal(_sampled(self._before[name])) for name, tensor in tensors.items())
        found = torch.empty(len(tensors), dtype=torch.bool)
        kernels.library.gyrostat_alike(*_pairs(tensors, self._before), found.data_ptr())
        return bool(found.all())


def _versions(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    return {name: tensor._version for name, tensor in tensors.items()}


def _plain(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the kernels take them: float32 on a CPU, dense in memory."""
    return all(t.dtype == torch.float32 and t.is_cpu and t.is_contiguous() for t in tensors.values())


def _alike(tensors: Mapping[str, Tensor], copies: Mapping[str, Tensor]) -> bool:
    return all(tensor.shape == copies[name].shape for name, tensor in tensors.items() if name in copies) and (
        tensors.keys() == copies.keys() and _plain(copies)
    )


def _sampled(tensor: Tensor) -> Tensor:
    flat = tensor.view(-1)
    return flat[:: flat.numel() // _SAMPLES + 1]


def _pairs(tensors: Mapping[str, Tensor], copies: Mapping[str, Tensor]) -> tuple[int, Any, Any, Any]:
    """As kernels take them: how many, where tensors and copies lie, how long they are."""
    count, addresses, lengths = addressed(list(tensors.values()))
    return count, addresses, addressed([copies[name] for name in tensors])[1], lengths
