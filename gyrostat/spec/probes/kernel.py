"""Of the neural tangent kernel."""

from typing import ClassVar

from pydantic import Field

from gyrostat.spec.probes.base import Cost, Probe


class KernelProbe(Probe):
    """Spectrum of the neural tangent kernel on the first samples of the probe batch, and how far it has moved."""

    name: ClassVar[str] = "kernel"
    cost: ClassVar[Cost] = "dear"
    at_start: ClassVar[bool] = False
    metrics: ClassVar[tuple[str, ...]] = (
        "kernel.largest_eigenvalue",
        "kernel.trace",
        "kernel.condition_number",
        "kernel.effective_rank",
        "kernel.drift",
        "kernel.distance",
        "kernel.last_distance",
    )
    every: int = Field(500, ge=1, le=1_000_000)
    """Optimizer steps between two measurements; the budget may stretch it."""
    samples: int = Field(16, ge=4, le=1024)
    """Samples of the kernel, the first of the probe batch: a backward pass each. Fewer where their gradients would take
    more than 512 MiB; where not even four fit, the probe is switched off."""
