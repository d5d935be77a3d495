"""Telling views of one sample from views of others."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from gyrostat.probes.linear_probe import probe_accuracy
from gyrostat.spec.augmentation import Affine, AnyAugmentation, Crop, NoiseAugmentation
from gyrostat.spec.run import RunSpec
from gyrostat.spec.tasks import Contrastive
from trainer.data.batches import Batch, Shuffled
from trainer.data.fitting import fitted_samples
from trainer.data.generators import generator
from trainer.data.samples import DataError, Samples
from trainer.models.build import initialized
from trainer.stabilizers import activations
from trainer.stabilizers.augmentation import Augmentations, ValueRange
from trainer.tasks.task import GAP, TASKS, Task

DEFAULT_VIEWS: tuple[AnyAugmentation, ...] = (Crop(), Affine(), NoiseAugmentation(probability=1.0, sigma=0.2))
"""Where the spec names no augmentations. Mirror images are not among them: of digits they are others' views."""

PROBE_SAMPLES = 1024
"""At most so many samples does the linear probe learn from, and is tried on."""


class Projected(nn.Module):
    """An encoder whose output is the hidden layer of a projection head (Chen et al. 2020, arXiv 2002.05709, section 2).

    `features` are what the encoder's output reads: the representation that is used afterwards, without the head.
    """

    def __init__(self, encoder: nn.Module, activation: nn.Module, width: int) -> None:
        super().__init__()
        self.encoder, self.activation, self.projection = encoder, activation, nn.Linear(width, width)

    def features(self, x: Tensor) -> Tensor:
        """(N, *input_shape) to (N, F)."""
        return cast("Tensor", self.encoder.features(x))  # type: ignore[operator]  # every architecture with a head has it

    def forward(self, x: Tensor) -> Tensor:
        """(N, *input_shape) to embeddings (N, width)."""
        embeddings: Tensor = self.projection(self.activation(self.encoder(x)))
        return embeddings


@TASKS.implements(Contrastive)
class ContrastiveTask(Task):
    """A batch is two views of each of its samples, and the number of what counts as one: sample, or class."""

    scalars = (
        "loss.validation",
        GAP,
        "representation.alignment",
        "representation.uniformity",
        "representation.linear_probe_accuracy",
        "representation.initial_probe_accuracy",
    )

    def __init__(self, spec: RunSpec, *, data_root: Path | None, device: torch.device) -> None:
        super().__init__(spec, data_root=data_root, device=device)
        task = spec.task
        assert isinstance(task, Contrastive)
        samples = fitted_samples(spec, data_root)
        if len(samples.input_shape) != 3:
            raise DataError(
                f"views are made of images (channels, height, width), and a sample has shape {samples.input_shape}; "
                "use a data set of images, or another task"
            )
        self._supervised = task.supervised
        self._samples = _on(samples, device)
        values = ValueRange.of(self._samples.train_inputs)
        height, width = samples.input_shape[1:]
        self._augment = Augmentations(spec.data.augment or DEFAULT_VIEWS, (height, width), values)
        self.batches = Shuffled(
            self._samples.train_inputs,
            self._samples.train_targets,
            batch_size=spec.data.batch_size,
            seed=spec.seed,
        )
        self.model = initialized(
            spec,
            samples.input_shape,
            task.projection,
            samples=self.probe_batch(spec.data.batch_size)[:1],
            device=device,
            around=lambda encoder: Projected(encoder, activations.build(spec.model.activation), task.projection),
        )
        self._initial_probe = self._initially_probed()

    def batch(self, step: int) -> Batch:
        """Two views (N, *input_shape) of each sample, and groups (N,)."""
        return self._views(self.batches.batch(step), "views", step)

    def probe_batch(self, size: int) -> Batch:
        """As a batch of a step; the same at every call."""
        return self._views(self.batches.fixed(size), "probe views")

    def held_out(self) -> Iterator[Batch]:
        """Views of the held-out samples, the same at every call; the last batch may be smaller."""
        size, held = self.spec.data.batch_size, self._samples
        for index, start in enumerate(range(0, len(held.val_inputs), size)):
            part = slice(start, start + size)
            yield self._views((held.val_inputs[part], held.val_targets[part]), "held-out views", index)

    def _views(self, batch: Batch, purpose: str, index: int = 0) -> Batch:
        inputs, labels = batch
        source = generator(self.spec.seed, purpose, index)
        first, second = (self._augment(inputs, None, source)[0] for _ in range(2))
        groups = labels if self._supervised else torch.arange(len(inputs), device=inputs.device)
        return first, second, groups

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Of both views, whose embeddings are computed in one pass."""
        embeddings, groups = _embedded(model, batch)
        return self.loss_function(embeddings, groups), {}

    def measured(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Nothing of one batch's embeddings alone."""
        return {}

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The loss, the views' distance, and what the log of uniformity is taken of."""
        embeddings, groups = _embedded(model, batch)
        first, second = functional.normalize(embeddings.float(), dim=1).chunk(2)
        return {
            "loss": self.loss_function(embeddings, groups),
            "alignment": (first - second).square().sum(1).mean(),
            "nearness": pair_potential(first),
        }

    def concluded(self, means: dict[str, Tensor]) -> dict[str, Tensor]:
        """Alignment and uniformity are of held-out data only."""
        return {
            "loss.validation": means["loss"],
            "representation.alignment": means["alignment"],
            "representation.uniformity": means["nearness"].log(),
        }

    def examined(self, model: nn.Module) -> dict[str, Tensor]:
        """What a linear classifier makes of the features, now and before training."""
        return {
            "representation.linear_probe_accuracy": self._probed(cast("Projected", model)),
            "representation.initial_probe_accuracy": self._initial_probe,
        }

    @torch.no_grad()
    def _initially_probed(self) -> Tensor:
        model = cast("Projected", self.model).eval()
        try:
            return self._probed(model)
        finally:
            model.train()

    def _probed(self, model: Projected) -> Tensor:
        held = self._samples
        inputs, labels = self.batches.fixed(PROBE_SAMPLES)
        wanted = held.val_targets[:PROBE_SAMPLES]
        size = self.spec.data.batch_size
        features, others = (
            torch.cat([model.features(whole[start : start + size]) for start in range(0, len(whole), size)])
            for whole in (inputs, held.val_inputs[:PROBE_SAMPLES])
        )
        return probe_accuracy(features, labels, others, wanted, held.outputs)


def _embedded(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    first, second, groups = batch
    return model(torch.cat([first, second])), groups.repeat(2)


def pair_potential(embeddings: Tensor) -> Tensor:
    """Mean of exp(−2‖z − z′‖²) over pairs of rows (N, D) on the unit sphere; a row alone is a pair with itself.

    Source: Wang and Isola 2020, arXiv 2005.10242, section 4.1, at t = 2.
    """
    count = len(embeddings)
    with torch.autocast(embeddings.device.type, enabled=False):
        potentials = (-2 * (2 - 2 * embeddings @ embeddings.T).clamp_min(0)).exp()
    if count == 1:
        return potentials.mean()
    return (potentials.sum() - potentials.diagonal().sum()) / (count * (count - 1))


def _on(samples: Samples, device: torch.device) -> Samples:
    return Samples(
        train_inputs=samples.train_inputs.to(device),
        train_targets=samples.train_targets.to(device),
        val_inputs=samples.val_inputs.to(device),
        val_targets=samples.val_targets.to(device),
        input_shape=samples.input_shape,
        outputs=samples.outputs,
    )
