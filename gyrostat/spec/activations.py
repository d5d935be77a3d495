"""Activation functions (brief section 3)."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gyrostat.spec.catalogue import Entry, Shorthand, Technique


class Relu(Technique):
    """Rectified linear unit."""

    family: ClassVar[str] = "activation"
    entry: ClassVar[Entry] = Entry(
        section="3",
        title="ReLU",
        formula="max(0, x)",
        controls="slope of the forward and backward signal: 1 where active, 0 elsewhere",
        when="The default of convolutional nets; does not saturate, but units can die.",
        treats=("vanishing_gradient",),
        source="Nair and Hinton 2010, ICML",
    )

    kind: Literal["relu"] = "relu"


class LeakyRelu(Technique):
    """Leaky rectified linear unit."""

    family: ClassVar[str] = "activation"
    entry: ClassVar[Entry] = Entry(
        section="3",
        title="Leaky ReLU",
        formula="x where x > 0, a·x elsewhere",
        controls="slope of the forward and backward signal: 1 where active, a elsewhere",
        when="Where units of ReLU die: the slope is nowhere zero.",
        treats=("vanishing_gradient", "dead_units"),
        source="Maas, Hannun and Ng 2013, ICML, Rectifier Nonlinearities Improve Neural Network Acoustic Models",
    )

    kind: Literal["leaky_relu"] = "leaky_relu"
    slope: float = Field(0.01, gt=0, lt=1)
    """a: the slope below zero."""


class PRelu(Technique):
    """Parametric rectified linear unit."""

    family: ClassVar[str] = "activation"
    entry: ClassVar[Entry] = Entry(
        section="3",
        title="PReLU",
        formula="x where x > 0, a·x elsewhere; a is learnt, one for each use of the activation",
        controls="slope of the forward and backward signal below zero, as the loss wants it",
        when="Deep convolutional nets with He initialization; a is not decayed, since decay would make it a ReLU.",
        treats=("vanishing_gradient", "dead_units"),
        source="He et al. 2015, arXiv 1502.01852, eq. 1",
    )

    kind: Literal["prelu"] = "prelu"
    slope: float = Field(0.25, ge=0, lt=1)
    """What a starts from."""


class Elu(Technique):
    """Exponential linear unit."""

    family: ClassVar[str] = "activation"
    entry: ClassVar[Entry] = Entry(
        section="3",
        title="ELU",
        formula="x where x > 0, α·(eˣ − 1) elsewhere",
        controls="slope of the signal, and its mean, which negative values bring closer to zero",
        when="Nets without normalization; units saturate below zero but do not die at once.",
        treats=("vanishing_gradient", "dead_units"),
        source="Clevert, Unterthiner and Hochreiter 2015, arXiv 1511.07289",
    )

    kind: Literal["elu"] = "elu"
    alpha: float = Field(1.0, gt=0, le=10)
    """α: minus the value it saturates at."""


class Selu(Technique):
    """Scaled exponential linear unit."""

    family: ClassVar[str] = "activation"
    entry: ClassVar[Entry] = Entry(
        section="3",
        title="SELU",
        formula="λ·x where x > 0, λ·α·(eˣ − 1) elsewhere; λ ≈ 1.0507, α ≈ 1.6733",
        controls="mean and variance of the signal, which each layer draws towards 0 and 1",
        when="Deep fully connected nets without normalization, with weights of variance 1/fan_in.",
        treats=("vanishing_gradient", "exploding_gradient", "dead_units"),
        source="Klambauer et al. 2017, arXiv 1706.02515, eq. 2",
    )

    kind: Literal["selu"] = "selu"


class Silu(Technique):
    """Sigmoid linear unit."""

    family: ClassVar[str] = "activation"
    entry: ClassVar[Entry] = Entry(
        section="3",
        title="SiLU (swish)",
        formula="x/(1 + e⁻ˣ)",
        controls="slope of the forward and backward signal, smooth around zero",
        when="Deep convolutional nets and diffusion models; close to GELU, and cheaper.",
        treats=("vanishing_gradient", "dead_units"),
        source="Elfwing, Uchibe and Doya 2018, arXiv 1702.03118; Ramachandran et al. 2017, arXiv 1710.05941",
    )

    kind: Literal["silu"] = "silu"


class Gelu(Technique):
    """Gaussian error linear unit."""

    family: ClassVar[str] = "activation"
    entry: ClassVar[Entry] = Entry(
        section="3",
        title="GELU",
        formula="x·Φ(x), Φ the standard normal distribution function",
        controls="slope of the forward and backward signal, smooth around zero",
        when="Transformers; units do not die, since the slope is nowhere exactly zero for long.",
        treats=("vanishing_gradient", "dead_units"),
        source="Hendrycks and Gimpel 2016, arXiv 1606.08415, eq. 1",
    )

    kind: Literal["gelu"] = "gelu"


class Tanh(Technique):
    """Hyperbolic tangent."""

    family: ClassVar[str] = "activation"
    entry: ClassVar[Entry] = Entry(
        section="3",
        title="tanh",
        formula="(eˣ − e⁻ˣ)/(eˣ + e⁻ˣ)",
        controls="bounds the signal to (−1, 1); the slope is at most 1 and vanishes at both ends",
        when="A control, and where a bounded signal is wanted; deep plain stacks of it lose their gradient.",
        source="LeCun et al. 1998, Efficient BackProp, section 4.4",
    )

    kind: Literal["tanh"] = "tanh"


class Sigmoid(Technique):
    """Logistic sigmoid."""

    family: ClassVar[str] = "activation"
    entry: ClassVar[Entry] = Entry(
        section="3",
        title="Sigmoid",
        formula="1/(1 + e⁻ˣ)",
        controls="bounds the signal to (0, 1); the slope is at most 1/4",
        when="A control: over depth the gradient shrinks at least fourfold a layer.",
        source="Glorot and Bengio 2010, AISTATS, section 3",
    )

    kind: Literal["sigmoid"] = "sigmoid"


Activation = Annotated[
    Relu | LeakyRelu | PRelu | Elu | Selu | Gelu | Silu | Tanh | Sigmoid, Field(discriminator="kind"), Shorthand
]
"""Any activation function."""
