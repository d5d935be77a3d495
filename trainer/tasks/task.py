"""What every task offers to the training loop."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from gyrostat.spec.run import RunSpec
from trainer.data.batches import Batch, Batches
from trainer.stabilizers import losses
from trainer.stabilizers.registry import Registry

TASKS: "Registry[Task]" = Registry("task")


class Task(ABC):
    """A spec's data, model and loss, ready to train.

    Attributes:
        model: built, initialized from the seed alone, on the device, in train mode.
        batches: the training data of every step.
        scalars: names of the metrics on the run axis that `loss` and `validate` answer beside the training loss.
        samples_per_step: samples (for language models: sequences) of one optimizer step.
    """

    scalars: ClassVar[tuple[str, ...]]
    model: nn.Module
    batches: Batches

    def __init__(self, spec: RunSpec, *, data_root: Path | None, device: torch.device) -> None:
        self.spec, self.data_root, self.device = spec, data_root, device
        self.samples_per_step = spec.data.batch_size
        self.loss_function = losses.build(spec.loss, spec.task.kind)

    @abstractmethod
    def measured(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """What is measured of the model's outputs beside the loss: 0-dim tensors by quantity ("accuracy")."""

    @abstractmethod
    def held_out(self) -> Iterator[Batch]:
        """The validation data in batches, all of the spec's size but for the last."""

    def batch(self, step: int) -> Batch:
        """The whole batch of optimizer step `step` (0 is the first), enriched; a pure function of seed and step."""
        return self.batches.batch(step)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The batch's mean loss, to differentiate, and detached 0-dim tensors by metric; nothing is waited for."""
        outputs = model(*batch[:-1])
        measured = self.measured(outputs.detach(), batch[-1])
        return self.loss_function(outputs, batch[-1]), {f"{name}.train": value for name, value in measured.items()}

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Loss and measures of a held-out batch, means over its samples, by quantity; the model is in eval mode."""
        outputs = model(*batch[:-1])
        return {"loss": self.loss_function(outputs, batch[-1]), **self.measured(outputs, batch[-1])}

    @torch.no_grad()
    def validate(self, model: nn.Module, max_batches: int | None = None) -> dict[str, Tensor]:
        """Means over all held-out samples (or the first `max_batches` batches), by metric, as 0-dim tensors.

        The model is in eval mode meanwhile, and then in its former mode again. Nothing is waited for.
        """
        training, means = model.training, _Means()
        model.eval()
        try:
            for batch in islice(self.held_out(), max_batches):
                means.add(self.evaluate(model, batch), len(batch[0]))
        finally:
            model.train(training)
        return {f"{name}.validation": value for name, value in means.result().items()}

    def probe_batch(self, size: int) -> Batch:
        """At most `size` training samples, the same at every call."""
        return self.batches.fixed(size)


class _Means:
    """Means over samples, gathered batch by batch on the device."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def add(self, values: dict[str, Tensor], count: int) -> None:
        """Adds means over `count` samples."""
        self._count += count
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value * count

    def result(self) -> dict[str, Tensor]:
        """The means by name."""
        return {name: total / self._count for name, total in self._sums.items()}


def accuracy(logits: Tensor, targets: Tensor) -> Tensor:
    """Share of `targets` (...) that are the largest of their `logits` (..., classes)."""
    return (logits.argmax(-1) == targets).float().mean()
