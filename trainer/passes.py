"""The forward and backward passes of one optimizer step."""

from torch import Tensor, nn

from gyrostat.spec.run import RunSpec
from trainer.data.batches import Batch
from trainer.stabilizers.systems import micro_batches
from trainer.tasks import Task


class Objective(nn.Module):
    """A task's loss as a module around its model, so that whatever wraps modules can wrap the whole loss."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.model = task.model
        self._task = task

    def forward(self, *batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean loss of the (micro-)batch, and detached 0-dim tensors by metric."""
        return self._task.loss(self.model, batch)


class Passes:
    """Computes the gradient of a step's mean loss, in however many pieces."""

    def __init__(self, spec: RunSpec, task: Task) -> None:
        self._accumulation = spec.accumulation
        self._objective = Objective(task)

    def run(self, batch: Batch) -> dict[str, Tensor]:
        """Adds up the gradient of the whole batch's mean loss; answers loss and measures, not waited for."""
        totals: dict[str, Tensor] = {}
        for part, weight in micro_batches(self._accumulation, batch):
            loss, measured = self._objective(*part)
            (loss * weight).backward()
            for name, value in {"loss.train": loss.detach(), **measured}.items():
                totals[name] = value * weight + totals[name] if name in totals else value * weight
        return totals
