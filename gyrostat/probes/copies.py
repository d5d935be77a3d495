"""Copies of tensors that are needed again and again."""

from collections.abc import Mapping

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
        self._memory = {name: copy for name, copy in taken.items() if copy.is_cpu and not copy.is_sparse}
        return taken


def _copied(tensor: Tensor, memory: Tensor | None) -> Tensor:
    if memory is None or tensor.is_sparse or not tensor.is_cpu:
        return tensor.clone()
    if memory.shape != tensor.shape or memory.dtype != tensor.dtype or memory.stride() != tensor.stride():
        return tensor.clone()
    return memory.copy_(tensor)
