"""Of the loss as a function of its inputs."""

from typing import ClassVar

from pydantic import Field

from gyrostat.spec.probes.base import Cost, Probe


class InputGradientProbe(Probe):
    """How steep the training loss is in each sample of the probe batch; where inputs are real numbers."""

    name: ClassVar[str] = "input_gradient"
    cost: ClassVar[Cost] = "dear"
    first: ClassVar[float | None] = 2.0
    at_start: ClassVar[bool] = False
    metrics: ClassVar[tuple[str, ...]] = ("lipschitz.input_gradient_norm", "lipschitz.input_gradient_max")
    every: int = Field(200, ge=1, le=1_000_000)
    """Optimizer steps between two measurements; the budget may stretch it."""
