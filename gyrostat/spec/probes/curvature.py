"""Of the loss around the weights."""

from typing import ClassVar

from pydantic import Field

from gyrostat.spec.probes.base import Cost, Probe


class CurvatureProbe(Probe):
    """Largest eigenvalue of the training loss's Hessian on a fixed probe batch, by warm-started Lanczos."""

    name: ClassVar[str] = "curvature"
    cost: ClassVar[Cost] = "dear"
    metrics: ClassVar[tuple[str, ...]] = (
        "curvature.sharpness",
        "curvature.preconditioned_sharpness",
        "curvature.limit",
        "curvature.sharpness_over_limit",
    )
    every: int = Field(50, ge=1, le=1_000_000)
    """Optimizer steps between two measurements; the budget may stretch it."""
    batch_size: int | None = Field(None, ge=1, le=65_536)
    """Samples of the fixed probe batch, part of the metric's meaning, since a small batch overstates sharpness; null
    takes as many as the training's own batch has."""
    tolerance: float = Field(0.01, gt=0, le=0.5)
    """Relative error of the eigenvalue at which the iteration stops."""
    max_products: int = Field(20, ge=2, le=1000)
    """Hessian-vector products of one measurement, at most."""
