"""The fixed batch of training samples that probes with passes of their own look at."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Tensors = tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class ProbeBatch:
    """A batch, and the training loss of it or of any part of it at the model's current parameters.

    Attributes:
        tensors: what one call of `loss_of` takes: inputs first, targets last; the first axis of each is the samples'.
            The same at every call; made at the first.
        loss_of: mean training loss of such tensors, with its graph. Calling it passes them through the model, so hooks
            see what its modules put out, whatever the task.
    """

    tensors: Callable[[], Tensors]
    loss_of: Callable[[Tensors], Tensor]

    def loss(self) -> Tensor:
        """Mean training loss of the whole batch."""
        return self.loss_of(self.tensors())

    def part(self, start: int, stop: int) -> Tensors:
        """Samples `start` to `stop`, as `loss_of` takes them."""
        return tuple(tensor[start:stop] for tensor in self.tensors())

    @property
    def size(self) -> int:
        """How many samples there are."""
        return len(self.tensors()[0])
