"""Of what modules put out, and of the gradients that come back."""

from typing import ClassVar

from pydantic import Field

from gyrostat.spec.probes.base import Cost, Probe


class ActivationsProbe(Probe):
    """Scale and shape of each module's output; its zeros, saturated elements, dead units and outlier channels."""

    name: ClassVar[str] = "activations"
    cost: ClassVar[Cost] = "cheap"
    metrics: ClassVar[tuple[str, ...]] = (
        "activation.mean",
        "activation.rms",
        "activation.max_abs",
        "activation.zero_fraction",
        "activation.nonfinite_count",
        "activation.kurtosis",
        "activation.saturated_fraction",
        "activation.dead_fraction",
        "activation.outlier_channels",
    )
    every: int = Field(10, ge=1, le=1_000_000)
    """Optimizer steps between two measurements; the budget may stretch it."""
    window: int = Field(10, ge=1, le=10_000)
    """Measurements in all of which a unit must have been zero to count as dead."""
    saturation: float = Field(0.01, gt=0, lt=0.5)
    """Outputs of tanh, sigmoid and softsign nearer to a bound than this share of their range are saturated."""


class SignalsProbe(Probe):
    """Scale of the loss's gradient with respect to each module's output: the backward signal that reaches it."""

    name: ClassVar[str] = "signals"
    cost: ClassVar[Cost] = "cheap"
    metrics: ClassVar[tuple[str, ...]] = ("activation.gradient_rms",)
    every: int = Field(10, ge=1, le=1_000_000)
    """Optimizer steps between two measurements; the budget may stretch it."""


class BranchesProbe(Probe):
    """What residual branches add, against the trunk that they add it to; of models with skip connections."""

    name: ClassVar[str] = "branches"
    cost: ClassVar[Cost] = "cheap"
    metrics: ClassVar[tuple[str, ...]] = ("activation.branch_to_trunk",)
    every: int = Field(10, ge=1, le=1_000_000)
    """Optimizer steps between two measurements; the budget may stretch it."""


class RanksProbe(Probe):
    """How many directions each module's output really uses, of a sample of its rows and features."""

    name: ClassVar[str] = "ranks"
    cost: ClassVar[Cost] = "moderate"
    metrics: ClassVar[tuple[str, ...]] = ("activation.effective_rank", "activation.stable_rank")
    at_start: ClassVar[bool] = False
    every: int = Field(100, ge=1, le=1_000_000)
    """Optimizer steps between two measurements; the budget may stretch it."""
    samples: int = Field(128, ge=2, le=4096)
    """At most so many rows (samples, positions, pixels) of an output are looked at, evenly spread."""
    features: int = Field(128, ge=2, le=4096)
    """At most so many of its features, evenly spread; no rank can be larger than either."""
