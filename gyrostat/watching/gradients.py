"""When gradients are final: told by the gradients themselves, and by the end of the backward pass that made them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


class BackwardPasses:
    """Calls `ended` at the end of each backward pass that reached `.grad` of any of `parameters`.

    One parameter's hook is enough to notice a pass, and all that is paid for. Which one is known after the first pass;
    when a pass goes by without it, all of them are asked again.

    Attributes:
        count: passes that the present gradients are the sum of.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], ended: Callable[[], None]) -> None:
        self.count = 0
        self._parameters, self._ended = parameters, ended
        self._handles: list[RemovableHandle] = []
        self._sentinel: nn.Parameter | None = None
        self._mark: tuple[int, int] | None = None
        self._queued = self._added_up = False
        self.listen_to_all()

    def listen_to_all(self) -> None:
        """Asks every parameter, until the next pass tells which one is enough."""
        self.remove()
        self._sentinel = self._mark = None
        self._listen(self._parameters)

    def expect(self) -> None:
        """Another pass may come; one that was broken off by an exception does not."""
        self._queued = False

    def remove(self) -> None:
        """Removes the hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def changes(self) -> int | None:
        """How often the gradients were written to since the last pass; None where they are other tensors, or unknown.

        As seen on one of them: clipping, unscaling and zeroing write to all.
        """
        now = self._marked()
        if now is None or self._mark is None or now[0] != self._mark[0]:
            return None
        return now[1] - self._mark[1]

    def _listen(self, parameters: Sequence[nn.Parameter]) -> None:
        for parameter in parameters:
            if parameter.requires_grad and parameter.is_leaf:
                handle = parameter.register_post_accumulate_grad_hook(self._accumulated)  # type: ignore[no-untyped-call]
                self._handles.append(handle)

    def _accumulated(self, parameter: Tensor) -> None:
        if self._queued or torch.compiler.is_compiling():
            return
        self._queued = True
        if self._sentinel is None:
            assert isinstance(parameter, nn.Parameter)
            self._sentinel = parameter
        # one write since the last pass has added this pass to it; zeroing makes it two, or another tensor
        self._added_up = self.changes() == 1
        # What reduces gradients over ranks (DDP) also acts at the end of the pass, and asked for that later
        _at_end_of_pass(lambda: _at_end_of_pass(self._pass_ended))

    def _pass_ended(self) -> None:
        self._queued = False
        if len(self._handles) > 1 and self._sentinel is not None:
            self.remove()
            self._listen([self._sentinel])
        self.count = self.count + 1 if self._added_up else 1
        self._mark = self._marked()
        self._ended()

    def _marked(self) -> tuple[int, int] | None:
        gradient = None if self._sentinel is None else self._sentinel.grad
        return None if gradient is None else (gradient.data_ptr(), gradient._version)


def _at_end_of_pass(call: Callable[[], None]) -> None:
    # what torch's own DistributedDataParallel and FSDP use; there is no public name for it
    engine: Any = torch.autograd.Variable._execution_engine
    engine.queue_callback(call)


@contextmanager
def divided_by(scale: Tensor | None, parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Inside, each `.grad` is the true one instead of that of the scaled loss; afterwards the very tensors are back."""
    if scale is None:
        yield
        return
    scaled = [(parameter, parameter.grad) for parameter in parameters if parameter.grad is not None]
    inverse = scale.double().reciprocal().float()  # as GradScaler.unscale_ rounds it
    try:
        for parameter, gradient in scaled:
            parameter.grad = gradient * inverse.to(gradient.device)
        yield
    finally:
        for parameter, gradient in scaled:
            parameter.grad = gradient
