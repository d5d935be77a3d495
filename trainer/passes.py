"""The forward and backward passes of one optimizer step: in which numbers, in how many pieces, on how many ranks."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.nn.parallel import DistributedDataParallel

from gyrostat.spec.run import RunSpec
from trainer.data.batches import Batch
from trainer.ranks import ALONE, Ranks
from trainer.stabilizers.own_optimizers import Sam
from trainer.stabilizers.systems import Arithmetic, arithmetic, micro_batches, replicated
from trainer.tasks import Task


class Objective(nn.Module):
    """A task's loss as a module around its model, so that whatever wraps modules can wrap the whole loss."""

    def __init__(self, task: Task, numbers: Arithmetic) -> None:
        super().__init__()
        self.model = task.model
        self._task, self._numbers = task, numbers

    def forward(self, *batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean loss of the (micro-)batch, and detached 0-dim tensors by metric."""
        with self._numbers.autocast():
            return self._task.loss(self.model, batch)


def _unwatched(samples: int, **circumstances: Any) -> None:
    """Nobody looks at micro-batches."""


class Passes:
    """Computes the gradient of a step's mean loss, and makes the step.

    Attributes:
        numbers: the spec's precision, which has a state.
    """

    def __init__(self, spec: RunSpec, task: Task, optimizer: optim.Optimizer, ranks: Ranks = ALONE) -> None:
        self.numbers = arithmetic(spec.precision, task.device)
        self._accumulation, self._optimizer, self._ranks = spec.accumulation, optimizer, ranks
        self._model, self._device = task.model, task.device
        self._objective: nn.Module = Objective(task, self.numbers)
        if spec.distributed is not None and ranks.size > 1:
            self._objective = replicated(spec.distributed, self._objective)

    def gradient(
        self,
        batch: Batch,
        *,
        after_forward: Callable[[], None],
        after_micro_batch: Callable[..., None] = _unwatched,
    ) -> dict[str, Tensor]:
        """Leaves the gradient that the optimizer wants; answers loss and measures at the weights themselves.

        For sharpness-aware minimization that is the gradient at θ + ε, from a second run over the same batch with the
        same random numbers; `after_forward` is called before it, and after the only one. `after_micro_batch` is that of
        `ProbeSession`, called in the run whose gradient the optimizer is given.
        """
        if not isinstance(self._optimizer, Sam):
            measured = self.run(batch, after_micro_batch=after_micro_batch)
            after_forward()
            return measured
        on_device = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(on_device):
            measured = self.run(batch, last=False)
        after_forward()
        with self._optimizer.ascended(self._model):
            self.run(batch, after_micro_batch=after_micro_batch)
        return measured

    def run(
        self, batch: Batch, *, last: bool = True, after_micro_batch: Callable[..., None] = _unwatched
    ) -> dict[str, Tensor]:
        """Adds up the true gradient of the whole batch's mean loss; answers loss and measures, not waited for.

        "True" is unscaled, of all micro-batches and all ranks. Each rank is given the whole batch and computes its
        share. `last=False`: another pass follows before the step, which is made with that one's gradient (SAM).
        """
        totals: dict[str, Tensor] = {}
        parts = list(micro_batches(self._accumulation, batch))
        for number, (part, weight) in enumerate(parts, start=1):
            reduce, own = number == len(parts), self._ranks.share(part)
            with self._pass(reduce=reduce):
                # a share of each micro-batch: joint statistics are then of the same samples as in one process
                loss, measured = self._objective(*own)
                self.numbers.scaled(loss * weight).backward()  # type: ignore[no-untyped-call]
            reduced = reduce and self._ranks.size > 1
            after_micro_batch(len(own[0]), scale=self.numbers.loss_scale(), reduced=reduced)
            for name, value in {"loss.train": loss.detach(), **measured}.items():
                totals[name] = value * weight + totals[name] if name in totals else value * weight
        self.numbers.unscale(self._optimizer, last=last)
        return self._ranks.mean(totals)

    def step(self) -> dict[str, float]:
        """The optimizer's step, unless the precision leaves it out; answers what the precision measures."""
        return self.numbers.step(self._optimizer)

    def _pass(self, *, reduce: bool) -> AbstractContextManager[Any]:
        """Around forward and backward of a micro-batch; gradients go over the network only where `reduce`."""
        stack = ExitStack()
        stack.enter_context(self._ranks.training_pass())
        if not reduce and isinstance(self._objective, DistributedDataParallel):
            stack.enter_context(self._objective.no_sync())
        return stack
