"""Of the loss around the weights."""

from typing import ClassVar

from pydantic import Field

from gyrostat.spec.probes.base import Cost, Probe


class CurvatureProbe(Probe):
    """Largest eigenvalues, trace and curvature along the gradient, of the loss's Hessian on a fixed probe batch."""

    name: ClassVar[str] = "curvature"
    cost: ClassVar[Cost] = "dear"
    metrics: ClassVar[tuple[str, ...]] = (
        "curvature.sharpness",
        "curvature.sharpness_error",
        "curvature.eigenvalue",
        "curvature.eigenvalue_error",
        "curvature.preconditioned_sharpness",
        "curvature.limit",
        "curvature.sharpness_over_limit",
        "curvature.along_gradient",
        "curvature.trace",
        "curvature.trace_error",
        "curvature.block_trace",
        "curvature.block_trace_error",
    )
    every: int = Field(50, ge=1, le=1_000_000)
    """Optimizer steps between two measurements; the budget may stretch it."""
    batch_size: int | None = Field(None, ge=1, le=65_536)
    """Samples of the fixed probe batch, part of the metric's meaning, since a small batch overstates sharpness; null
    takes as many as the training's own batch has."""
    tolerance: float = Field(0.04, gt=0, le=0.5)
    """Relative residual ‖Hy − θy‖/θ at which the iteration stops; the error of θ is of the order of its square."""
    eigenvalues: int = Field(1, ge=1, le=16)
    """How many of the largest eigenvalues are iterated for; 2 or more also give `curvature.eigenvalue`."""
    max_products: int = Field(20, ge=2, le=1000)
    """Hessian-vector products of one measurement, at most, besides those for the trace; three or four an eigenvalue do
    for the next ones, more for the first measurement."""
    along_gradient: bool = True
    """Whether a product is spent on the curvature along the gradient."""
    trace_samples: int = Field(1, ge=0, le=1000)
    """Products with random signs for the trace, whose standard error falls with their root; 0 leaves the trace out."""


class BlockCurvatureProbe(Probe):
    """Largest eigenvalue of the Hessian's diagonal block of each parameter, a few parameters at a time."""

    name: ClassVar[str] = "block_curvature"
    cost: ClassVar[Cost] = "dear"
    metrics: ClassVar[tuple[str, ...]] = ("curvature.block_sharpness",)
    at_start: ClassVar[bool] = False
    every: int = Field(200, ge=1, le=1_000_000)
    """Optimizer steps between two measurements; the budget may stretch it."""
    blocks: int = Field(4, ge=1, le=65_536)
    """Parameters of one measurement; all take their turn."""
    tolerance: float = Field(0.05, gt=0, le=0.5)
    """Relative residual of an eigenvalue at which its iteration stops."""
    max_products: int = Field(10, ge=2, le=1000)
    """Products with one block, at most."""


class SmoothnessProbe(Probe):
    """What becomes of the loss and the gradient along the gradient: how far a step can be foretold."""

    name: ClassVar[str] = "smoothness"
    cost: ClassVar[Cost] = "dear"
    metrics: ClassVar[tuple[str, ...]] = (
        "curvature.sam_sharpness",
        "curvature.loss_range",
        "curvature.gradient_change",
        "curvature.effective_smoothness",
        "curvature.effective_smoothness_over_limit",
    )
    at_start: ClassVar[bool] = False
    every: int = Field(200, ge=1, le=1_000_000)
    """Optimizer steps between two measurements; the budget may stretch it."""
    rho: float = Field(0.05, gt=0, le=10)
    """Radius ρ of the neighbourhood of SAM's sharpness."""
