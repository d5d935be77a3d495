"""What happens to a training batch between data and model: augmentation, mixing, noise (brief sections 5 and 13)."""

from functools import cached_property

import torch
from torch import Tensor

from gyrostat.spec.run import RunSpec
from trainer.data.batches import Batch, Batches
from trainer.data.generators import generator
from trainer.stabilizers import curriculum, mixing, noise
from trainer.stabilizers.augmentation import Augmentations, ValueRange

RANGE_SAMPLES = 4096
"""Training images whose smallest and largest pixel say what black and full brightness are."""


class Enrichment:
    """Changes the batch of a step; everything random is a pure function of the spec's seed and the step.

    Args:
        batches: where the training data comes from, for the shape and the range of its samples.
        classes: how many there are, where targets are class numbers.
    """

    def __init__(self, spec: RunSpec, batches: Batches, *, classes: int | None) -> None:
        self._spec, self._batches, self._classes = spec, batches, classes
        self._noises = [each for each in (spec.noise.multiplicative, spec.noise.input) if each is not None]
        measured = {"data.mix_lambda": spec.data.mix, "data.pool_fraction": spec.data.curriculum}
        self.scalars = tuple(name for name, settings in measured.items() if settings is not None)
        """Names of the metrics that `measured` answers."""

    def __call__(self, batch: Batch, step: int) -> Batch:
        """The batch of `step` (0 is the first): samples, and as the last part their targets, as the model gets them.

        Masks move with the images; mixing makes class numbers (N,) floats (N, classes), also where it leaves the batch
        as it is.
        """
        samples, *between, targets = batch
        if self._spec.data.augment:
            segmented = self._spec.task.kind == "segmentation"
            source = generator(self._spec.seed, "augment", step)
            samples, masks = self._augmentations(samples, targets if segmented else None, source)
            targets = targets if masks is None else masks
        if (mixed := self._mixing(step, tuple(samples.shape))) is not None:
            if self._classes is not None:
                targets = mixing.one_hot(targets, self._classes)
            samples, targets = mixed.inputs(samples), mixed.targets(targets)
        for settings in self._noises:
            source = generator(self._spec.seed, f"{settings.kind} noise", step)
            samples = noise.INPUT_NOISES.of(settings)(settings, samples, source)
        return samples, *between, targets

    def measured(self, step: int) -> dict[str, float]:
        """What `step`'s batch was made with, by metric."""
        values = {}
        if self._spec.data.mix is not None:
            mixed = self._mixing(step, (self._spec.data.batch_size, *self._shape))
            assert mixed is not None
            values["data.mix_lambda"] = mixed.weight
        if self._spec.data.curriculum is not None:
            values["data.pool_fraction"] = curriculum.fraction(self._spec.data.curriculum, step, self._spec.steps)
        return values

    @cached_property
    def _shape(self) -> tuple[int, ...]:
        return tuple(self._batches.fixed(1)[0].shape[1:])

    @cached_property
    def _augmentations(self) -> Augmentations:
        images: Tensor = self._batches.fixed(RANGE_SAMPLES)[0]
        height, width = images.shape[-2:]
        return Augmentations(self._spec.data.augment, (height, width), ValueRange.of(images))

    def _mixing(self, step: int, shape: tuple[int, ...]) -> mixing.Mixing | None:
        if self._spec.data.mix is None:
            return None
        source: torch.Generator = generator(self._spec.seed, "mix", step)
        return mixing.mixing(self._spec.data.mix, shape[1:], shape[0], source)
