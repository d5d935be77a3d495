"""Copies of tensors that are needed again and again."""

from collections.abc import Mapping

import torch
from torch import Tensor


class Copies:
    """Copies by name, into the memory of the last ones where these still fit.

    On a CPU, memory that is got anew takes three times as long to fill: the system hands it out page by page.
    Accelerators have an allocator that does not, and their memory is of use to the training in between.
    """

    def __init__(self) -> None:
        self._memory: dict[str, Tensor] = {}

    def of(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Detached copies, which hold until the next call."""
        taken = {name: _copied(tensor.detach(), self._memory.get(name)) for name, tensor in tensors.items()}
        return self._kept(taken)

    def rooms(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Memory for copies of dense tensors, with anything in it; the caller's until the next call."""
        taken = {}
        for name, tensor in tensors.items():
            memory = self._memory.get(name)
            taken[name] = memory if memory is not None and _fits(memory, tensor) else torch.empty_like(tensor.detach())
        return self._kept(taken)

    def _kept(self, taken: dict[str, Tensor]) -> dict[str, Tensor]:
        self._memory = {name: copy for name, copy in taken.items() if copy.is_cpu and not copy.is_sparse}
        return taken


def _copied(tensor: Tensor, memory: Tensor | None) -> Tensor:
    if memory is None or tensor.is_sparse or not tensor.is_cpu or not _fits(memory, tensor):
        return tensor.clone()
    return memory.copy_(tensor)


def _fits(memory: Tensor, tensor: Tensor) -> bool:
    return memory.shape == tensor.shape and memory.dtype == tensor.dtype and memory.stride() == tensor.stride()
