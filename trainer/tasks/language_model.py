"""Predicting the next byte or character of a text."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from gyrostat.spec.run import RunSpec
from gyrostat.spec.tasks import LanguageModel
from trainer.data.batches import Batch, Windows, windows
from trainer.data.datasets import load
from trainer.data.fitting import window_pool
from trainer.data.samples import DataError, Text, training_count
from trainer.models.build import initialized
from trainer.tasks.task import ACCURACY_GAP, GAP, TASKS, Task, accuracy


@TASKS.implements(LanguageModel)
class LanguageModelTask(Task):
    """Trains on random windows of the text's beginning, validates on successive windows of its end."""

    scalars = ("accuracy.train", "loss.validation", "accuracy.validation", GAP, ACCURACY_GAP)

    def __init__(self, spec: RunSpec, *, data_root: Path | None, device: torch.device) -> None:
        super().__init__(spec, data_root=data_root, device=device)
        text = load(spec.task.dataset, data_root)
        assert isinstance(text, Text), "the spec's checks let no samples through to a language model"
        tokens = text.tokens[: spec.data.limit].to(device)
        count = training_count(len(tokens), spec.data.validation_fraction)
        self._length = spec.data.sequence_length
        self._held_out = tokens[count:]
        self.label_counts = torch.bincount(tokens[:count], minlength=len(text.vocabulary))
        if len(self._held_out) <= self._length:
            raise DataError(
                f"{len(self._held_out)} held-out tokens do not hold a sequence of {self._length} and its target; use a "
                "smaller data.sequence_length, a larger data.validation_fraction, or more text"
            )
        self.batches = Windows(
            tokens[:count],
            batch_size=spec.data.batch_size,
            length=self._length,
            seed=spec.seed,
            pool=window_pool(spec, tokens[:count]),
        )
        probe = self.batches.fixed(spec.data.batch_size)
        self.model = initialized(spec, (self._length,), len(text.vocabulary), samples=probe[:-1], device=device)

    def measured(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The share of tokens predicted rightly."""
        return {"accuracy": accuracy(outputs, targets)}

    def held_out(self) -> Iterator[Batch]:
        """Successive windows that do not overlap; what does not fill a window at the end is left out."""
        starts = torch.arange(0, len(self._held_out) - self._length, self._length, device=self.device)
        size = self.spec.data.batch_size
        for start in range(0, len(starts), size):
            yield windows(self._held_out, starts[start : start + size], self._length)
