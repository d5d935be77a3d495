"""Of gradients."""

from typing import ClassVar

from pydantic import Field

from gyrostat.spec.probes.base import Cost, Probe


class GradientsProbe(Probe):
    """How large each parameter's gradient is: unscaled, after all micro-batches, before clipping."""

    name: ClassVar[str] = "gradients"
    cost: ClassVar[Cost] = "cheap"
    metrics: ClassVar[tuple[str, ...]] = (
        "gradient.norm",
        "gradient.max_abs",
        "gradient.nonfinite_count",
        "gradient.zero_fraction",
        "gradient.weight_ratio",
        "gradient.global_norm",
        "gradient.depth_slope",
    )
    conditional: ClassVar[tuple[str, ...]] = ("gradient.clipped_norm",)
    every: int = Field(5, ge=1, le=1_000_000)
    """Optimizer steps between two measurements; the budget may stretch it."""
