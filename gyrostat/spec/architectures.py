"""Model architectures (brief sections 1, 2, 6, 7 and 8 meet here)."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gyrostat.spec.activations import Activation, Gelu, Relu
from gyrostat.spec.attention import Attention, CrossAttention, MultiHead
from gyrostat.spec.catalogue import Entry, Shorthand, Technique
from gyrostat.spec.connections import Connection, Residual
from gyrostat.spec.normalization import BatchNorm, LayerNorm, Norm


class WidthScaling(Technique):
    """One multiplier over all hidden widths."""

    family: ClassVar[str] = "width"
    entry: ClassVar[Entry] = Entry(
        section="8",
        title="Width multiplier",
        formula="every hidden width n becomes round(m·n); f(x; θ) ≈ f(x; θ₀) + ∇f(x; θ₀)ᵀ(θ − θ₀) as m grows",
        controls="how many units each hidden layer has, and with them how linear training is",
        when="A net underfits, or its loss surface is rough: wider nets of the same depth train more smoothly.",
        treats=("sharpness",),
        source="Jacot, Gabriel and Hongler 2018, arXiv 1806.07572; Lee et al. 2019, arXiv 1902.06720, eq. 5",
    )

    arithmetic: ClassVar[bool] = True

    kind: Literal["multiplier"] = "multiplier"
    factor: float = Field(1.0, ge=1 / 64, le=64)
    """m; what it gives is rounded, and at least 1."""

    def of(self, width: int) -> int:
        """`width` scaled."""
        return max(1, round(width * self.factor))


class Architecture(Technique):
    """A network whose hidden width is `hidden`: `width`, scaled."""

    family: ClassVar[str] = "arch"
    width: int
    """Units or channels."""
    scaling: Annotated[WidthScaling, Shorthand] | None = None
    """One multiplier over all hidden widths; null leaves them as they are."""

    @property
    def hidden(self) -> int:
        """The width after scaling, at least 1."""
        return self.width if self.scaling is None else self.scaling.of(self.width)


class Mlp(Architecture):
    """Fully connected net: `depth` hidden layers of `width` units, then a linear output."""

    entry: ClassVar[Entry] = Entry(
        section="1",
        title="Fully connected net",
        formula="h_l = act(norm(W_l·h_{l−1} + b_l)), l = 1..depth; y = W·h_depth + b",
        controls="how many times the signal is mixed and bent",
        when="Tables, small images, and as the plainest net there is.",
        source="Goodfellow, Bengio and Courville 2016, Deep Learning, chapter 6",
    )

    kind: Literal["mlp"] = "mlp"
    depth: int = Field(3, ge=0, le=20_000)
    """Hidden layers; 0 is a linear model."""
    width: int = Field(128, ge=1, le=65_536)
    """Units of each hidden layer."""
    activation: Activation = Relu()
    """After each hidden layer."""
    norm: Norm | None = None
    """In each hidden layer; null for none."""
    connection: Connection | None = None
    """Around each hidden layer but the first, which changes the width; null for a plain stack."""


class Cnn(Architecture):
    """Plain convolutional net: `depth` 3 x 3 layers in stages that halve the image and double the channels."""

    entry: ClassVar[Entry] = Entry(
        section="1",
        title="Plain convolutional net",
        formula="h_l = act(norm(K_l ∗ h_{l−1} + b_l)); y = W·mean_{hw}(h_depth) + b",
        controls="local features, shared over the image",
        when="Images, up to about twenty layers; deeper ones want skip connections.",
        source="Simonyan and Zisserman 2014, arXiv 1409.1556, section 2.1",
    )

    kind: Literal["cnn"] = "cnn"
    depth: int = Field(6, ge=1, le=20_000)
    """Convolutions."""
    width: int = Field(32, ge=1, le=8192)
    """Channels of the first stage."""
    stages: int = Field(2, ge=1, le=6)
    """Times the image is halved, plus one; layers are spread evenly over the stages."""
    activation: Activation = Relu()
    """After each convolution."""
    norm: Norm | None = None
    """After each convolution; null for none."""


class ResNet(Architecture):
    """Residual convolutional net: stages of two-convolution blocks, global average pooling, a linear output."""

    entry: ClassVar[Entry] = Entry(
        section="2",
        title="Residual convolutional net",
        formula="h_{l+1} = h_l + F_l(h_l), F_l two 3 × 3 convolutions; y = W·mean_{hw}(h) + b",
        controls="local features over an undisturbed path of signal and gradient",
        when="Images, at any depth.",
        source="He et al. 2015, arXiv 1512.03385, section 3.3",
    )

    kind: Literal["resnet"] = "resnet"
    depth: int = Field(6, ge=1, le=10_000)
    """Residual blocks, spread evenly over the stages; two convolutions each."""
    width: int = Field(16, ge=1, le=8192)
    """Channels of the first stage."""
    stages: int = Field(3, ge=1, le=6)
    """Times the image is halved, plus one."""
    activation: Activation = Relu()
    """In and after each block."""
    norm: Norm | None = BatchNorm()
    """After each convolution (or before, with pre placement); null for none."""
    connection: Connection | None = Residual(placement="post")
    """Around each block; null removes the skips and leaves a plain net of the same shape."""


class Transformer(Architecture):
    """Transformer: self-attention and a four times wider MLP in each block."""

    entry: ClassVar[Entry] = Entry(
        section="6",
        title="Transformer",
        formula="x ← x + Attention(norm(x)); x ← x + MLP(norm(x)), depth times",
        controls="which positions are mixed, by their content",
        when="Text and other sequences; images in patches and tables by column as an encoder.",
        source="Vaswani et al. 2017, arXiv 1706.03762, section 3",
    )

    kind: Literal["transformer"] = "transformer"
    layout: Literal["decoder", "encoder", "encoder_decoder"] = "decoder"
    """`decoder` predicts the next token of one sequence; `encoder` tells one thing of a whole sample; `encoder_decoder`
    makes one sequence of another."""
    depth: int = Field(2, ge=1, le=10_000)
    """Blocks; an encoder-decoder has so many on each side."""
    width: int = Field(64, ge=2, le=65_536)
    """Features of each position."""
    attention: Attention = MultiHead()
    """In each block."""
    cross: Annotated[CrossAttention, Shorthand] | None = None
    """In each block of an encoder-decoder's decoder, reading the source; null for a decoder that sees no source."""
    patch: int = Field(2, ge=1, le=1024)
    """Pixels of a side of the patches that an encoder cuts images into; nothing else looks at it."""
    activation: Activation = Gelu()
    """In each block's MLP."""
    norm: Norm | None = LayerNorm()
    """Before each branch (pre placement), or after each sum (post, as in Vaswani et al. 2017); null for none."""
    connection: Connection | None = Residual(placement="pre")
    """Around each attention and MLP; null removes the skips."""


Model = Annotated[Mlp | Cnn | ResNet | Transformer, Field(discriminator="kind"), Shorthand]
"""Any architecture."""
