"""Of what adaptive optimizers divide by."""

from typing import ClassVar

from pydantic import Field

from gyrostat.spec.probes.base import Cost, Probe


class SecondMomentProbe(Probe):
    """How far the second moment of an adaptive optimizer lags behind the gradients."""

    name: ClassVar[str] = "second_moment"
    cost: ClassVar[Cost] = "cheap"
    metrics: ClassVar[tuple[str, ...]] = ("update.second_moment_lag",)
    every: int = Field(5, ge=1, le=1_000_000)
    """Optimizer steps between two measurements; the budget may stretch it."""
