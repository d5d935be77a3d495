"""Of weights and of what the optimizer does to them."""

from typing import ClassVar

from pydantic import Field

from gyrostat.spec.probes.base import Cost, Probe


class WeightsProbe(Probe):
    """Norm of each parameter, and how far the optimizer's last step really moved it, relative to it."""

    name: ClassVar[str] = "weights"
    cost: ClassVar[Cost] = "cheap"
    metrics: ClassVar[tuple[str, ...]] = ("weight.norm", "update.ratio")
    every: int = Field(10, ge=1, le=1_000_000)
    """Optimizer steps between two measurements; the budget may stretch it."""


class DistanceProbe(Probe):
    """How far each parameter is from where it began; keeps a copy of the initial weights, on their device."""

    name: ClassVar[str] = "distance"
    cost: ClassVar[Cost] = "moderate"
    metrics: ClassVar[tuple[str, ...]] = ("weight.distance_from_init",)
    every: int = Field(50, ge=1, le=1_000_000)
    """Optimizer steps between two measurements; the budget may stretch it."""
