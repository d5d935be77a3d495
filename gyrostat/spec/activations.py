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


Activation = Annotated[Relu | Gelu | Tanh | Sigmoid, Field(discriminator="kind"), Shorthand]
"""Any activation function."""
