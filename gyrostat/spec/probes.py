"""Which probes look into the network, how often, and what they may cost."""

from typing import ClassVar

from pydantic import Field

from gyrostat.spec.catalogue import Settings

PROBES: dict[str, type["Probe"]] = {}
"""Every probe's settings by its name, in the order of the spec."""


class Probe(Settings):
    """Settings of one probe; subclasses name it and the metrics it measures. Defining one registers it."""

    name: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    enabled: bool = True
    """Whether it measures at all."""
    every: int = Field(10, ge=1, le=1_000_000)
    """Optimizer steps between two measurements; the budget may stretch it."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: object) -> None:
        if cls.name in PROBES:
            raise TypeError(f"two probes are named {cls.name!r}")
        PROBES[cls.name] = cls


class GradientsProbe(Probe):
    """Norm of each parameter's gradient: unscaled, after all micro-batches, before clipping."""

    name: ClassVar[str] = "gradients"
    metrics: ClassVar[tuple[str, ...]] = ("gradient.norm", "gradient.global_norm")
    every: int = Field(5, ge=1, le=1_000_000)
    """Optimizer steps between two measurements; the budget may stretch it."""


class WeightsProbe(Probe):
    """Norm of each parameter, and how far the optimizer's last step really moved it, relative to it."""

    name: ClassVar[str] = "weights"
    metrics: ClassVar[tuple[str, ...]] = ("weight.norm", "update.ratio")
    every: int = Field(10, ge=1, le=1_000_000)
    """Optimizer steps between two measurements; the budget may stretch it."""


class ActivationsProbe(Probe):
    """Scale of each module's output, and its share of exact zeros."""

    name: ClassVar[str] = "activations"
    metrics: ClassVar[tuple[str, ...]] = (
        "activation.mean",
        "activation.rms",
        "activation.max_abs",
        "activation.zero_fraction",
    )
    every: int = Field(10, ge=1, le=1_000_000)
    """Optimizer steps between two measurements; the budget may stretch it."""


class AttentionProbe(Probe):
    """How spread out each attention head's weights are, and how large its logits; of models with attention layers."""

    name: ClassVar[str] = "attention"
    metrics: ClassVar[tuple[str, ...]] = ("attention.entropy", "attention.max_logit")
    every: int = Field(10, ge=1, le=1_000_000)
    """Optimizer steps between two measurements; the budget may stretch it."""
    sequences: int = Field(4, ge=1, le=65_536)
    """At most so many sequences are looked at, the first of the step's first micro-batch."""


class SpectralProbe(Probe):
    """Largest singular value of each weight matrix, by an iteration that starts from the last one's vector."""

    name: ClassVar[str] = "spectral"
    metrics: ClassVar[tuple[str, ...]] = ("weight.spectral_norm",)
    every: int = Field(20, ge=1, le=1_000_000)
    """Optimizer steps between two measurements; the budget may stretch it."""
    tolerance: float = Field(1e-3, gt=0, le=0.1)
    """Relative error at which the iteration stops."""
    max_iterations: int = Field(50, ge=1, le=1000)
    """Products with the matrix and its transpose, at most."""


class CurvatureProbe(Probe):
    """Largest eigenvalue of the training loss's Hessian on a fixed probe batch, by warm-started Lanczos."""

    name: ClassVar[str] = "curvature"
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


class Probes(Settings):
    """What is measured inside the network."""

    budget: float | None = Field(0.02, gt=0, le=1)
    """Largest share of training time that all probes may take; cadences stretch to keep it. Null keeps them as set."""
    gradients: GradientsProbe = GradientsProbe()
    """Gradient norms."""
    weights: WeightsProbe = WeightsProbe()
    """Weight norms and update ratios."""
    activations: ActivationsProbe = ActivationsProbe()
    """Activation scales."""
    attention: AttentionProbe = AttentionProbe()
    """Entropy and largest logit of attention heads."""
    spectral: SpectralProbe = SpectralProbe()
    """Spectral norms of the weights."""
    curvature: CurvatureProbe = CurvatureProbe()
    """Sharpness."""
