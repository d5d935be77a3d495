"""Of weight matrices as operators."""

from typing import ClassVar

from pydantic import Field

from gyrostat.spec.probes.base import Cost, Probe


class SpectralProbe(Probe):
    """Largest singular value of each weight matrix, by an iteration that starts from the last one's vector."""

    name: ClassVar[str] = "spectral"
    cost: ClassVar[Cost] = "moderate"
    metrics: ClassVar[tuple[str, ...]] = ("weight.spectral_norm",)
    every: int = Field(20, ge=1, le=1_000_000)
    """Optimizer steps between two measurements; the budget may stretch it."""
    tolerance: float = Field(1e-3, gt=0, le=0.1)
    """Relative error at which the iteration stops."""
    max_iterations: int = Field(50, ge=1, le=1000)
    """Products with the matrix and its transpose, at most."""
