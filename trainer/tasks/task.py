"""What every task offers to the training loop."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gyrostat.spec.run import RunSpec
from trainer.data.batches import Batch, Batches
from trainer.data.enrichment import Enrichment
from trainer.data.samples import DataError
from trainer.showcase import Picture
from trainer.stabilizers import distillation, lipschitz, losses
from trainer.stabilizers.registry import Registry

TASKS: "Registry[Task]" = Registry("task")

GAP, ACCURACY_GAP = "generalization.gap", "generalization.accuracy_gap"

GAP_SAMPLES = 256
"""Training samples that held-out ones are compared with, or as many as one batch has."""


class Task(ABC):
    """A spec's data, model and loss, ready to train.

    Attributes:
        model: built, initialized from the seed alone, on the device, in train mode.
        batches: the training data of every step.
        scalars: names of the metrics on the run axis that `loss` and `validate` answer beside the training loss.
        samples_per_step: samples (for language models: sequences) of one optimizer step.
        label_counts: (K,) how many training labels each of K classes has; None where targets are no classes.
        teacher: what the training loss compares outputs with, where the spec distils.
    """

    scalars: ClassVar[tuple[str, ...]]
    model: nn.Module
    batches: Batches
    label_counts: Tensor | None = None
    teacher: distillation.Teacher | None = None

    def __init__(self, spec: RunSpec, *, data_root: Path | None, device: torch.device) -> None:
        self.spec, self.data_root, self.device = spec, data_root, device
        self.samples_per_step = spec.data.batch_size

    def complete(self) -> None:
        """Makes what needs both data and model: the loss and the teacher. Called once, by `tasks.build`.

        Raises:
            DataError: the spec's class weights do not fit the data's classes.
        """
        try:
            self.loss_function  # noqa: B018  (made here, so that weights that do not fit are told before training)
        except ValueError as error:
            raise DataError(str(error)) from None
        self.teacher = distillation.build(self.spec.regularization.distillation, self.model)

    @cached_property
    def loss_function(self) -> losses.LossFunction:
        """The spec's loss, as validation measures it."""
        return losses.build(self.spec.loss, self.spec.task.kind, self.label_counts)

    def training_loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The spec's loss with what regularization does to it in training alone: smoothing, penalty, teacher."""
        loss = losses.regularized(self.loss_function, self.spec.regularization)(outputs, batch[-1])
        return loss if self.teacher is None else loss + self.teacher.term(outputs, batch[:-1])

    @abstractmethod
    def measured(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """What is measured of the model's outputs beside the loss: 0-dim tensors by quantity ("accuracy")."""

    @abstractmethod
    def held_out(self) -> Iterator[Batch]:
        """The validation data in batches, all of the spec's size but for the last."""

    def batch(self, step: int) -> Batch:
        """The whole batch of optimizer step `step` (0 is the first), enriched; a pure function of seed and step."""
        return self.enrichment(self.batches.batch(step), step)

    @cached_property
    def enrichment(self) -> Enrichment:
        """What training batches go through: augmentation, mixing, noise."""
        classes = None if self.label_counts is None else len(self.label_counts)
        return Enrichment(self.spec, self.batches, classes=classes)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The batch's mean loss, to differentiate, and detached 0-dim tensors by metric; nothing is waited for."""
        penalty = self.spec.lipschitz.gradient_penalty
        with lipschitz.differentiable(batch) if penalty is not None else nullcontext(batch) as batch:
            outputs = model(*batch[:-1])
            loss = self.training_loss(outputs, batch)
            if penalty is not None:
                loss = loss + lipschitz.gradient_penalty(penalty, loss, batch[0])
        measured = self.measured(outputs.detach(), batch[-1])
        return loss, {f"{name}.train": value for name, value in measured.items()}

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Loss and measures of a held-out batch, means over its samples, by quantity; the model is in eval mode."""
        outputs, targets = model(*batch[:-1]), batch[-1]
        measured = {**self.measured(outputs, targets), **self.tallied(outputs, targets)}
        return {"loss": self.loss_function(outputs, targets), **measured}

    def tallied(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Further means over a held-out batch's samples, of any shape, that `concluded` makes metrics of."""
        return {}

    def concluded(self, means: dict[str, Tensor]) -> dict[str, Tensor]:
        """Metrics, 0-dim tensors, from the means over all held-out samples of what `evaluate` answered."""
        return {f"{name}.validation": value for name, value in means.items()}

    def examined(self, model: nn.Module) -> dict[str, Tensor]:
        """Metrics of a validation that are no means over the held-out samples; the model is in eval mode."""
        return {}

    def samples(self, model: nn.Module) -> Picture | None:
        """What a generative model makes now, to be looked at; None for tasks that make nothing. Draws on no RNG."""
        return None

    @property
    def bounded(self) -> nn.Module:
        """The part of the model that weight clipping is for: all of it, unless a task says otherwise."""
        return self.model

    def after_update(self, step: int) -> None:
        """What follows the optimizer's step `step`; 1 is the first."""
        if self.teacher is not None:
            self.teacher.follow(self.model, step)

    def state_dict(self) -> dict[str, Any]:
        """Whatever the next step depends on that is not the model's, by its part."""
        return {} if self.teacher is None else {"teacher": self.teacher.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up what `state_dict` gave."""
        if self.teacher is not None:
            self.teacher.load_state_dict(state["teacher"])

    def take_over(self, state: dict[str, Any]) -> list[str]:
        """Starts a fork: whatever fits of a parent's `state_dict`. Answers what was not taken over, and why."""
        return [] if self.teacher is None else self.teacher.take_over(state.get("teacher"), self.model)

    @torch.no_grad()
    def validate(self, model: nn.Module, max_batches: int | None = None) -> dict[str, Tensor]:
        """What all held-out samples (or the first `max_batches` batches) say, by metric, as 0-dim tensors.

        The model is in eval mode meanwhile, and then in its former mode again. Nothing is waited for.
        """
        training = model.training
        model.eval()
        try:
            means = self._means(model, islice(self.held_out(), max_batches))
            return {**self.concluded(means.result()), **self._gaps(model, means), **self.examined(model)}
        finally:
            model.train(training)

    def _means(self, model: nn.Module, batches: Iterable[Batch]) -> "_Means":
        means = _Means()
        for batch in batches:
            means.add(self.evaluate(model, batch), len(batch[0]))
        return means

    def _gaps(self, model: nn.Module, held_out: "_Means") -> dict[str, Tensor]:
        """How much worse held-out samples fare than training samples, the same ones at every validation.

        Those are measured as held-out ones are, by the plain loss, in eval mode, in batches of the same size, so that
        neither dropout nor smoothing nor the batch makes a gap. There are no more of them than held-out ones.
        """
        if GAP not in self.scalars:
            return {}
        size = self.spec.data.batch_size
        known = self.probe_batch(size * max(1, min(held_out.batches, GAP_SAMPLES // size)))
        starts = range(0, len(known[0]), size)
        training = self._means(model, (tuple(part[at : at + size] for part in known) for at in starts)).result()
        means = held_out.result()
        gaps = {GAP: means["loss"] - training["loss"]}
        return gaps | ({ACCURACY_GAP: training["accuracy"] - means["accuracy"]} if "accuracy" in means else {})

    def probe_batch(self, size: int) -> Batch:
        """At most `size` training samples, the same at every call."""
        return self.batches.fixed(size)


class _Means:
    """Means over samples, gathered batch by batch on the device.

    Attributes:
        batches: how many there were.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count = self.batches = 0

    def add(self, values: dict[str, Tensor], count: int) -> None:
        """Adds means over `count` samples."""
        self._count, self.batches = self._count + count, self.batches + 1
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value * count

    def result(self) -> dict[str, Tensor]:
        """The means by name."""
        return {name: total / self._count for name, total in self._sums.items()}


def accuracy(logits: Tensor, targets: Tensor) -> Tensor:
    """Share of `targets` (...) that are the largest of their `logits` (..., classes).

    Of targets that are probabilities (..., classes) the likeliest class is meant.
    """
    wanted = targets.argmax(-1) if targets.is_floating_point() else targets
    return (logits.argmax(-1) == wanted).float().mean()
