"""Noise injection (brief section 13). Multiplicative noise on hidden units is `regularization.dropout` 'gaussian'."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gyrostat.spec.catalogue import Entry, Settings, Shorthand, Technique


class InputNoise(Technique):
    """Gaussian noise on the inputs, while training."""

    family: ClassVar[str] = "noise"
    entry: ClassVar[Entry] = Entry(
        section="13",
        title="Input noise",
        formula="x̃ = x + σε, ε ~ N(0, I), anew at every step",
        controls="how fast outputs may change with inputs: to second order a penalty on ‖∂y/∂x‖²",
        when="Few samples, and inputs that are measured with noise.",
        treats=("sharpness",),
        source="Bishop 1995, Neural Computation 7(1), Training with Noise is Equivalent to Tikhonov Regularization",
    )

    kind: Literal["input"] = "input"
    sigma: float = Field(0.1, ge=0, le=10)
    """σ, in standard deviations of the data, which is standardized."""


class MultiplicativeNoise(Technique):
    """Gaussian noise in proportion to each input, while training."""

    family: ClassVar[str] = "noise"
    entry: ClassVar[Entry] = Entry(
        section="13",
        title="Multiplicative input noise",
        formula="x̃ = x·(1 + σε), ε ~ N(0, I), anew at every step",
        controls="how much the net relies on any one input's size; mean and zeros stay",
        when="Inputs whose error grows with their size; 'gaussian' dropout does the same to hidden units.",
        treats=("sharpness",),
        source="Srivastava et al. 2014, JMLR 15, section 10, Multiplicative Gaussian Noise",
    )

    kind: Literal["multiplicative"] = "multiplicative"
    sigma: float = Field(0.1, ge=0, le=10)
    """σ: standard deviation of the factor on each value."""


class GradientNoise(Technique):
    """Annealed Gaussian noise on the gradient."""

    family: ClassVar[str] = "noise"
    entry: ClassVar[Entry] = Entry(
        section="+",
        title="Gradient noise",
        formula="g ← g + N(0, σₜ²), σₜ² = η/(1 + t)^γ, t steps done; after clipping and not in gradient metrics",
        controls="exploration: early steps leave sharp minima and saddles, late ones are undisturbed",
        when="Very deep nets without normalization, and poor initializations.",
        source="Neelakantan et al. 2015, arXiv 1511.06807, eq. 1",
    )

    kind: Literal["gradient"] = "gradient"
    eta: float = Field(0.01, ge=0, le=100)
    """η: variance at the first step, before the gradient is multiplied by the learning rate."""
    gamma: float = Field(0.55, ge=0, le=10)
    """γ: how fast the variance falls; 0 keeps it."""


class Noise(Settings):
    """Noise that is added on purpose, while training only."""

    input: Annotated[InputNoise, Shorthand] | None = None
    """Gaussian noise on inputs; null for none."""
    multiplicative: Annotated[MultiplicativeNoise, Shorthand] | None = None
    """Noise in proportion to each input; null for none. With both, the product comes first."""
    gradient: Annotated[GradientNoise, Shorthand] | None = None
    """Noise on the gradient, after clipping; null for none."""
