"""Of the gradient's direction."""

from typing import ClassVar

from pydantic import Field

from gyrostat.spec.probes.base import Cost, Probe


class DirectionProbe(Probe):
    """How far each parameter's gradient turns from one step to the next; measured at the step after a due one."""

    name: ClassVar[str] = "direction"
    cost: ClassVar[Cost] = "moderate"
    metrics: ClassVar[tuple[str, ...]] = ("gradient.direction_change",)
    every: int = Field(10, ge=1, le=1_000_000)
    """Optimizer steps between two measurements; the budget may stretch it."""
