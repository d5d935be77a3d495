"""Of weight matrices as operators."""

from typing import ClassVar

from pydantic import Field

from gyrostat.spec.probes.base import Cost, Probe


class SpectralProbe(Probe):
    """How far each weight can stretch a vector, as a matrix and as its layer's linear map, and all of them together.

    By an iteration that starts from the last measurement's vectors.
    """

    name: ClassVar[str] = "spectral"
    cost: ClassVar[Cost] = "moderate"
    metrics: ClassVar[tuple[str, ...]] = (
        "weight.spectral_norm",
        "weight.stable_rank",
        "weight.operator_norm",
        "weight.lipschitz_bound",
    )
    every: int = Field(20, ge=1, le=1_000_000)
    """Optimizer steps between two measurements; the budget may stretch it."""
    tolerance: float = Field(1e-3, gt=0, le=0.1)
    """Relative error that the iteration meets, on a CPU."""
    max_iterations: int = Field(50, ge=1, le=1000)
    """Products with each map and its transpose, at most."""


class ConditionProbe(Probe):
    """Largest over smallest singular value of each weight matrix, from all of them."""

    name: ClassVar[str] = "condition"
    cost: ClassVar[Cost] = "dear"
    at_start: ClassVar[bool] = False
    metrics: ClassVar[tuple[str, ...]] = ("weight.condition_number",)
    every: int = Field(500, ge=1, le=1_000_000)
    """Optimizer steps between two measurements; the budget may stretch it."""
    max_elements: int = Field(2**19, ge=1, le=2**30)
    """Larger matrices have no condition number: that of a square one of this size takes some 80 ms."""
