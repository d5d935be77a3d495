"""Of what modules put out."""

from typing import ClassVar

from pydantic import Field

from gyrostat.spec.probes.base import Cost, Probe


class ActivationsProbe(Probe):
    """Scale of each module's output, and its share of exact zeros."""

    name: ClassVar[str] = "activations"
    cost: ClassVar[Cost] = "cheap"
    metrics: ClassVar[tuple[str, ...]] = (
        "activation.mean",
        "activation.rms",
        "activation.max_abs",
        "activation.zero_fraction",
    )
    every: int = Field(10, ge=1, le=1_000_000)
    """Optimizer steps between two measurements; the budget may stretch it."""
