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


class Orthogonal(Technique):
    """Orthogonal initialization."""

    family: ClassVar[str] = "init"
    entry: ClassVar[Entry] = Entry(
        section="+",
        title="Orthogonal initialization",
        formula="W = gain·Q, QᵀQ = I (or QQᵀ = I), Q uniform among such; kernels as (out, in·height·width); biases 0",
        controls="all singular values of a weight at the start, equal, so that no direction is lost over depth",
        when="Deep plain and recurrent nets.",
        treats=_TREATS,
        source="Saxe, McClelland and Ganguli 2013, arXiv 1312.6120, section 3",
    )

    kind: Literal["orthogonal"] = "orthogonal"
    gain: float | None = Field(None, gt=0, le=100)
    """Every singular value; null takes the activation's own gain."""


class Lsuv(Technique):
    """Layer-sequential unit-variance initialization."""

    family: ClassVar[str] = "init"
    entry: ClassVar[Entry] = Entry(
        section="3",
        title="LSUV initialization",
        formula="W_l orthogonal, then W_l ← W_l/√Var(W_l·x_l), l in order of execution, x_l of a batch of data",
        controls="scale of activations over depth at the start, as measured on data",
        when="Any activation, and nets for which no law is derived; layers that the forward pass does not use, or that "
        "put out zeros, are left.",
        treats=_TREATS,
        source="Mishkin and Matas 2015, arXiv 1511.06422, algorithm 1",
    )

    kind: Literal["lsuv"] = "lsuv"
    tolerance: float = Field(0.1, gt=0, lt=1)
    """How far from 1 a layer's output variance may be."""
    max_iterations: int = Field(10, ge=1, le=100)
    """Forward passes at most; more than one is needed only where layers share weights."""


class ZeroLast(Technique):
    """Residual branches that start at zero."""

    family: ClassVar[str] = "init"
    entry: ClassVar[Entry] = Entry(
        section="+",
        title="Zero-initialized residual branches",
        formula="F_l(x) = 0 at the start: the last layer of each branch, or the gain of the last norm, is 0",
        controls="the depth that a net has at the start: none, every block is the identity",
        when="Deep residual nets and large batches; it comes on top of any init.",
        treats=("exploding_gradient", "loss_spike"),
        source="Goyal et al. 2017, arXiv 1706.02677, section 5.1; Zhang, Dauphin and Ma 2019, arXiv 1901.09321",
    )

    kind: Literal["zero_last"] = "zero_last"


Initialization = Annotated[
    XavierUniform | XavierNormal | HeUniform | HeNormal | Orthogonal | Lsuv, Field(discriminator="kind"), Shorthand
]
"""Any initialization; null leaves torch's own defaults."""
