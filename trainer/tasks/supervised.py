"""What classification and regression share: labelled samples, split once, dealt out shuffled."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from gyrostat.spec.run import RunSpec
from trainer.data.batches import Batch, Shuffled
from trainer.data.fitting import fitted_samples, sample_pool
from trainer.models.build import initialized
from trainer.tasks.task import Task

INPUT_GRADIENT = "generalization.input_gradient_norm"

EXAMINED_SAMPLES = 256
"""At most so many samples' gradients are measured."""


class Supervised(Task):
    """A task on labelled samples, which lie on the device as a whole."""

    def __init__(self, spec: RunSpec, *, data_root: Path | None, device: torch.device) -> None:
        super().__init__(spec, data_root=data_root, device=device)
        samples = fitted_samples(spec, data_root)
        self.batches = Shuffled(
            samples.train_inputs.to(device),
            samples.train_targets.to(device),
            batch_size=spec.data.batch_size,
            seed=spec.seed,
            pool=sample_pool(spec, samples.train_inputs, samples.train_targets),
        )
        if not samples.train_targets.is_floating_point():
            self.label_counts = torch.bincount(samples.train_targets.flatten(), minlength=samples.outputs).to(device)
        self._held_out = (samples.val_inputs.to(device), samples.val_targets.to(device))
        probe = self.batches.fixed(spec.data.batch_size)
        self.model = initialized(spec, samples.input_shape, samples.outputs, samples=probe[:-1], device=device)

    def held_out(self) -> Iterator[Batch]:
        """The held-out samples in batches, in one order; the last may be smaller."""
        inputs, targets = self._held_out
        size = self.spec.data.batch_size
        for start in range(0, len(inputs), size):
            yield inputs[start : start + size], targets[start : start + size]

    def examined_samples(self) -> Batch:
        """The first held-out samples, whose gradients are measured."""
        inputs, targets = next(self.held_out())
        return inputs[:EXAMINED_SAMPLES], targets[:EXAMINED_SAMPLES]

    def examined(self, model: nn.Module) -> dict[str, Tensor]:
        """How strongly the loss of a held-out sample depends on the sample."""
        inputs, targets = self.examined_samples()
        with torch.enable_grad():
            inputs = inputs.clone().requires_grad_()
            # samples do not see one another in eval mode, so the sum's gradient holds each sample's own
            total = self.loss_function(model(inputs), targets) * len(inputs)
            (gradients,) = torch.autograd.grad(total, inputs)
        return {INPUT_GRADIENT: gradients.flatten(1).norm(dim=1).mean()}
