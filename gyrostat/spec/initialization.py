"""Weight initialization (brief section 3)."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gyrostat.spec.catalogue import Entry, Shorthand, Technique

_TREATS = ("vanishing_gradient", "exploding_gradient", "dead_units")
_XAVIER = "Glorot and Bengio 2010, AISTATS, eq. 16"
_HE = "He et al. 2015, arXiv 1502.01852, eq. 10"


class XavierUniform(Technique):
    """Xavier (Glorot) initialization, uniform."""

    family: ClassVar[str] = "init"
    entry: ClassVar[Entry] = Entry(
        section="3",
        title="Xavier uniform initialization",
        formula="W ~ U(−a, a), a = gain·√(6/(fan_in + fan_out)); biases 0",
        controls="scale of activations and gradients over depth at the start",
        when="tanh, sigmoid and linear layers.",
        treats=_TREATS,
        source=_XAVIER,
    )

    kind: Literal["xavier_uniform"] = "xavier_uniform"
    gain: float | None = Field(None, gt=0, le=100)
    """Factor on the law; null takes the activation's own gain."""


class XavierNormal(Technique):
    """Xavier (Glorot) initialization, normal."""

    family: ClassVar[str] = "init"
    entry: ClassVar[Entry] = Entry(
        section="3",
        title="Xavier normal initialization",
        formula="W ~ N(0, s²), s = gain·√(2/(fan_in + fan_out)); biases 0",
        controls="scale of activations and gradients over depth at the start",
        when="tanh, sigmoid and linear layers.",
        treats=_TREATS,
        source=_XAVIER,
    )

    kind: Literal["xavier_normal"] = "xavier_normal"
    gain: float | None = Field(None, gt=0, le=100)
    """Factor on the law; null takes the activation's own gain."""


class HeUniform(Technique):
    """He (Kaiming) initialization, uniform."""

    family: ClassVar[str] = "init"
    entry: ClassVar[Entry] = Entry(
        section="3",
        title="He uniform initialization",
        formula="W ~ U(−a, a), a = gain·√(3/fan), gain √2 for ReLU; biases 0",
        controls="scale of activations and gradients over depth at the start",
        when="ReLU and its relatives.",
        treats=_TREATS,
        source=_HE,
    )

    kind: Literal["he_uniform"] = "he_uniform"
    mode: Literal["fan_in", "fan_out"] = "fan_in"
    """Keep the variance of the forward (fan_in) or of the backward (fan_out) signal."""
    gain: float | None = Field(None, gt=0, le=100)
    """Factor on the law; null takes the activation's own gain."""


class HeNormal(Technique):
    """He (Kaiming) initialization, normal."""

    family: ClassVar[str] = "init"
    entry: ClassVar[Entry] = Entry(
        section="3",
        title="He normal initialization",
        formula="W ~ N(0, s²), s = gain/√fan, gain √2 for ReLU; biases 0",
        controls="scale of activations and gradients over depth at the start",
        when="ReLU and its relatives.",
        treats=_TREATS,
        source=_HE,
    )

    kind: Literal["he_normal"] = "he_normal"
    mode: Literal["fan_in", "fan_out"] = "fan_in"
    """Keep the variance of the forward (fan_in) or of the backward (fan_out) signal."""
    gain: float | None = Field(None, gt=0, le=100)
    """Factor on the law; null takes the activation's own gain."""


Initialization = Annotated[XavierUniform | XavierNormal | HeUniform | HeNormal, Field(discriminator="kind"), Shorthand]
"""Any initialization; null leaves torch's own defaults."""
