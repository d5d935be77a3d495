"""Systems-level techniques: how a step's batch reaches the device (brief sections 15 to 17)."""

from collections.abc import Iterator

from torch import Tensor

from gyrostat.spec.systems import Accumulation
from trainer.stabilizers.registry import Registry

Batch = tuple[Tensor, ...]
"""Tensors of as many samples, along the first axis of each."""

ACCUMULATIONS: Registry[Iterator[tuple[Batch, float]]] = Registry("accumulation")


def micro_batches(settings: Accumulation, batch: Batch) -> Iterator[tuple[Batch, float]]:
    """The parts of a step's batch, each with the weight bᵢ/b of its mean loss in the whole batch's mean loss."""
    return ACCUMULATIONS.of(settings)(settings, batch)


@ACCUMULATIONS.implements(Accumulation)
def _equal_parts(settings: Accumulation, batch: Batch) -> Iterator[tuple[Batch, float]]:
    for part in zip(*(tensor.tensor_split(settings.steps) for tensor in batch), strict=True):
        yield part, len(part[0]) / len(batch[0])
