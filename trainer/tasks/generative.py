"""What tasks share that learn to make samples like their data's."""

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from gyrostat.spec.run import RunSpec
from trainer import pictures
from trainer.data.batches import Batch, Shuffled
from trainer.data.fitting import fitted_samples
from trainer.data.generators import generator
from trainer.showcase import Picture
from trainer.tasks.task import Task

SHOWN_POINTS = 500
"""Samples of a scatter picture."""


class Generative(Task):
    """A task on samples alone, each channel or column brought to -1 ... 1 by its training part; labels say nothing.

    Whatever is random about a batch is drawn when the batch is made, by a generator of its own, so that it is a pure
    function of seed and step.

    Attributes:
        shape: of one sample.
    """

    def __init__(self, spec: RunSpec, *, data_root: Path | None, device: torch.device) -> None:
        super().__init__(spec, data_root=data_root, device=device)
        samples = fitted_samples(spec, data_root)
        train, held_out = scaled(samples.train_inputs, samples.val_inputs)
        self.shape = tuple(samples.input_shape)
        self.batches = Shuffled(
            train.to(device), samples.train_targets.to(device), batch_size=spec.data.batch_size, seed=spec.seed
        )
        self._held_out = held_out.to(device)
        self.model = self.built()

    @abstractmethod
    def built(self) -> nn.Module:
        """The spec's model, ready to train."""

    @abstractmethod
    def enriched(self, samples: Tensor, source: torch.Generator, step: int | None) -> Batch:
        """The batch that `samples` (N, *shape) become at optimizer step `step`, None for no step in particular.

        Whatever is random about it is drawn from `source`.
        """

    @abstractmethod
    def generated(self, model: nn.Module, count: int) -> Tensor:
        """(count, *shape) samples of the model, the same noise at every call; the model is in eval mode."""

    def batch(self, step: int) -> Batch:
        """The whole batch of optimizer step `step` (0 is the first); a pure function of seed and step."""
        return self.enriched(super().batch(step)[0], generator(self.spec.seed, "noise", step), step)

    def probe_batch(self, size: int) -> Batch:
        """At most `size` training samples, the same at every call, noise included."""
        return self.enriched(self.batches.fixed(size)[0], generator(self.spec.seed, "probe noise"), None)

    def held_out(self) -> Iterator[Batch]:
        """The held-out samples in batches, in one order, the same noise at every call."""
        size = self.spec.data.batch_size
        for number, start in enumerate(range(0, len(self._held_out), size)):
            samples = self._held_out[start : start + size]
            yield self.enriched(samples, generator(self.spec.seed, "held-out noise", number), None)

    def measured(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Nothing that labels are needed for."""
        return {}

    def drawn(self, *shape: int, source: torch.Generator) -> Tensor:
        """Standard normal noise, the same on every device."""
        return torch.randn(shape, generator=source).to(self.device)

    @torch.no_grad()
    def samples(self, model: nn.Module) -> Picture:
        """What the model makes now: images in a grid, points over held-out data; the mode is put back."""
        training = model.training
        model.eval()
        try:
            if len(self.shape) == 3:
                count = pictures.columns_for(self.shape) ** 2
                return Picture(pictures.grid(self.generated(model, count)), f"{count} samples of the model")
            points = self.generated(model, SHOWN_POINTS)
            picture = pictures.scatter(points, self._held_out[: 2 * SHOWN_POINTS])
            return Picture(picture, f"{SHOWN_POINTS} samples of the model (orange) over held-out data (grey)")
        finally:
            model.train(training)


def scaled(train: Tensor, held_out: Tensor) -> tuple[Tensor, Tensor]:
    """Both (n, C, ...), so that each channel of `train` reaches from -1 to 1; one that does not vary is centred."""
    axes = (0, *range(2, train.ndim))
    low, high = train.amin(axes, keepdim=True), train.amax(axes, keepdim=True)
    half = torch.where(high > low, (high - low) / 2, 1.0)
    return (train - (low + high) / 2) / half, (held_out - (low + high) / 2) / half
