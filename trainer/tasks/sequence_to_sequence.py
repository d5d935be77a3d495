"""Making one sequence of another."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from gyrostat.spec.run import RunSpec
from gyrostat.spec.tasks import SequenceToSequence
from trainer.data.batches import Batch, Batches, Shuffled
from trainer.data.datasets import load
from trainer.data.generators import generator
from trainer.data.samples import Pairs, training_count
from trainer.models.build import initialized
from trainer.tasks.task import ACCURACY_GAP, GAP, TASKS, Task, accuracy


class Shifted(Batches):
    """Batches (sources, target inputs, targets) out of batches (sources, targets).

    Target inputs are the targets, one place later and with `start` before them: what the model may read when it
    predicts each token of the target (Sutskever, Vinyals and Le 2014, arXiv 1409.3215, section 2).
    """

    def __init__(self, pairs: Batches, start: int) -> None:
        self._pairs, self._start = pairs, start

    def batch(self, step: int) -> Batch:
        """(batch_size, S), (batch_size, T), (batch_size, T)."""
        return shifted(self._pairs.batch(step), self._start)

    def epoch(self, step: int) -> float:
        """That of the pairs."""
        return self._pairs.epoch(step)

    def fixed(self, size: int) -> Batch:
        """As `batch`, with at most `size` pairs."""
        return shifted(self._pairs.fixed(size), self._start)


def shifted(pairs: Batch, start: int) -> Batch:
    """(sources, targets) to (sources, target inputs, targets)."""
    sources, targets = pairs
    return sources, functional.pad(targets[:, :-1], (1, 0), value=start), targets


@TASKS.implements(SequenceToSequence)
class SequenceToSequenceTask(Task):
    """Pairs, which lie on the device as a whole; targets are predicted token by token, reading their true beginning."""

    scalars = (
        "accuracy.train",
        "sequence_accuracy.train",
        "loss.validation",
        "accuracy.validation",
        "sequence_accuracy.validation",
        GAP,
        ACCURACY_GAP,
    )

    def __init__(self, spec: RunSpec, *, data_root: Path | None, device: torch.device) -> None:
        super().__init__(spec, data_root=data_root, device=device)
        data = load(spec.task.dataset, data_root)
        assert isinstance(data, Pairs), "the spec's checks let only pairs through to a sequence-to-sequence task"
        total = min(spec.data.limit or len(data.sources), len(data.sources))
        train = training_count(total, spec.data.validation_fraction)
        order = torch.randperm(len(data.sources), generator=generator(spec.seed, "split"))[:total]
        sources, targets = data.sources[order].to(device), data.targets[order].to(device)
        self.label_counts = torch.bincount(targets[:train].flatten(), minlength=len(data.vocabulary))
        pairs = Shuffled(sources[:train], targets[:train], batch_size=spec.data.batch_size, seed=spec.seed)
        self._start, self._held_out = data.start, (sources[train:], targets[train:])
        self.batches = Shifted(pairs, data.start)
        self.model = initialized(
            spec,
            (sources.shape[1], targets.shape[1]),
            len(data.vocabulary),
            samples=self.batches.fixed(spec.data.batch_size)[:-1],
            device=device,
        )

    def measured(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The share of tokens predicted rightly, and that of sequences without a wrong one."""
        right = (outputs.argmax(-1) == targets).all(-1)
        return {"accuracy": accuracy(outputs, targets), "sequence_accuracy": right.float().mean()}

    def held_out(self) -> Iterator[Batch]:
        """The held-out pairs in batches, in one order; the last may be smaller."""
        sources, targets = self._held_out
        size = self.spec.data.batch_size
        for start in range(0, len(sources), size):
            yield shifted((sources[start : start + size], targets[start : start + size]), self._start)
