"""Of the noise in the gradient."""

from typing import ClassVar

from pydantic import Field

from gyrostat.spec.probes.base import Cost, Probe


class GradientNoiseProbe(Probe):
    """How much of the gradient is noise of its samples, from the step's micro-batches or from parts of the probe batch.

    Where the run accumulates micro-batches, their gradients are compared as they come, at the price of a copy of the
    gradient. Where it does not, the probe batch is passed through the network once more, in parts.
    """

    name: ClassVar[str] = "gradient_noise"
    cost: ClassVar[Cost] = "dear"
    first: ClassVar[float | None] = 4.0
    at_start: ClassVar[bool] = False
    metrics: ClassVar[tuple[str, ...]] = (
        "gradient.signal_to_noise",
        "gradient.noise_scale",
        "gradient.noise_trace",
        "gradient.signal",
    )
    every: int = Field(200, ge=1, le=1_000_000)
    """Optimizer steps between two measurements; the budget may stretch it."""
    parts: int = Field(8, ge=2, le=1024)
    """Parts of the probe batch, where the run has no micro-batches; each has at least two samples."""
    memory: float = Field(0.9, ge=0, lt=1)
    """What each measurement keeps of those before it in the averages that the noise scale is the ratio of; 0 takes each
    by itself."""
