"""Of layers that normalize by the batch in training, and by what they have seen of batches in eval."""

from typing import ClassVar

from pydantic import Field

from gyrostat.spec.probes.base import Cost, Probe


class StatisticsProbe(Probe):
    """How far the batch statistics of batch normalization are from the running ones, from the running ones alone."""

    name: ClassVar[str] = "statistics"
    cost: ClassVar[Cost] = "cheap"
    metrics: ClassVar[tuple[str, ...]] = (
        "normalization.statistic_gap",
        "normalization.mean_gap",
        "normalization.scale_gap",
    )
    every: int = Field(10, ge=1, le=1_000_000)
    """Optimizer steps between two measurements; the budget may stretch it."""


class ModesProbe(Probe):
    """How far train and eval mode disagree on the probe batch; of models with batch normalization."""

    name: ClassVar[str] = "modes"
    cost: ClassVar[Cost] = "dear"
    first: ClassVar[float | None] = 2.0
    at_start: ClassVar[bool] = False
    metrics: ClassVar[tuple[str, ...]] = ("normalization.output_gap", "normalization.loss_gap")
    every: int = Field(200, ge=1, le=1_000_000)
    """Optimizer steps between two measurements; the budget may stretch it."""
