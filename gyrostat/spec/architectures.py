"""Model architectures (brief sections 1, 2, 6, 7 and 8 meet here)."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gyrostat.spec.activations import Activation, Gelu, Relu
from gyrostat.spec.attention import Attention, CrossAttention, MultiHead
from gyrostat.spec.catalogue import Entry, Shorthand
from gyrostat.spec.connections import Connection, Dense, Highway, Residual
from gyrostat.spec.normalization import BatchNorm, GroupNorm, LayerNorm, Norm
from gyrostat.spec.width import Architecture, spread


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
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression", "contrastive", "denoising", "vae", "gan")

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
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression", "contrastive", "vae", "gan")
    images: ClassVar[bool] = True

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
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression", "contrastive", "vae", "gan")
    images: ClassVar[bool] = True

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
    tasks: ClassVar[tuple[str, ...]] = (
        "language_model",
        "sequence_to_sequence",
        "classification",
        "regression",
        "contrastive",
        "vae",
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


class DenseNet(Architecture):
    """Dense convolutional net: stages of layers that read all earlier ones of their stage, narrowed in between."""

    entry: ClassVar[Entry] = Entry(
        section="2",
        title="Dense convolutional net",
        formula="x_l = K_l ∗ act(norm([x₀, …, x_{l−1}])), k maps each; between stages θ·C maps, 2 × 2 means",
        controls="local features, each computed once and read by all later layers of its stage",
        when="Images, with few parameters: layers need only add what is not there yet.",
        source="Huang et al. 2016, arXiv 1608.06993, section 3",
    )
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression", "contrastive", "vae", "gan")
    images: ClassVar[bool] = True

    kind: Literal["densenet"] = "densenet"
    depth: int = Field(9, ge=1, le=2000)
    """Convolutions that grow the maps, spread evenly over the stages."""
    width: int = Field(16, ge=1, le=8192)
    """Channels of the first convolution, before the first stage."""
    growth: int = Field(8, ge=1, le=1024)
    """k: channels that each layer adds."""
    stages: int = Field(3, ge=1, le=6)
    """Times the image is halved, plus one."""
    compression: float = Field(0.5, gt=0, le=1)
    """θ: the share of the channels that goes on to the next stage."""
    activation: Activation = Relu()
    """Before each convolution but the first."""
    norm: Norm | None = BatchNorm()
    """Before each activation; null for none."""
    connection: Connection | None = Dense()
    """Dense; null leaves a plain net, whose layers read the last one only."""

    def channels(self) -> list[list[int]]:
        """Channels that each layer of each stage reads, and last those that leave the stage."""
        grown, passed = self.scaled(self.growth), self.hidden
        plan: list[list[int]] = []
        for stage in range(self.stages):
            if stage:
                passed = max(1, int(passed * self.compression))
            row = [passed]
            for _ in range(spread(self.depth, self.stages)[stage]):
                passed = grown if self.connection is None else passed + grown
                row.append(passed)
            plan.append(row)
        return plan


class HighwayNet(Architecture):
    """Highway convolutional net: plain layers where the width changes, gated ones in between, a linear output."""

    entry: ClassVar[Entry] = Entry(
        section="2",
        title="Highway convolutional net",
        formula="h_l = H_l·T_l + h_{l−1}·(1 − T_l), H_l = act(norm(K_l ∗ h_{l−1} + b_l)); y = W·mean_{hw}(h) + b",
        controls="local features, over a path of signal and gradient whose width is learnt",
        when="Images, at any depth; on tables a fully connected net with highway connections is the same.",
        source="Srivastava, Greff and Schmidhuber 2015, arXiv 1505.00387, section 2",
    )
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression", "contrastive", "vae", "gan")
    images: ClassVar[bool] = True

    kind: Literal["highway_net"] = "highway_net"
    depth: int = Field(9, ge=1, le=20_000)
    """Convolutions, spread evenly over the stages; the first of each stage is plain."""
    width: int = Field(32, ge=1, le=8192)
    """Channels of the first stage."""
    stages: int = Field(2, ge=1, le=6)
    """Times the image is halved, plus one."""
    activation: Activation = Relu()
    """After each convolution."""
    norm: Norm | None = None
    """After each convolution; null for none."""
    connection: Connection | None = Highway()
    """Highway; null leaves a plain net of the same shape."""


class UNet(Architecture):
    """Encoder-decoder net: down to a coarse image in stages and up again, with a skip at each resolution."""

    entry: ClassVar[Entry] = Entry(
        section="7",
        title="U-Net",
        formula="e_s = encode_s(e_{s−1}); d_s = decode_s([up(d_{s+1}), e_s]); y = W ∗ d₀, an answer for each pixel",
        controls="fine detail (the skips) beside wide context (the coarse stages)",
        when="An answer for each pixel: segmentation, denoising, diffusion.",
        source="Ronneberger, Fischer and Brox 2015, arXiv 1505.04597, section 2; a time for each sample: Ho, Jain and "
        "Abbeel 2020, arXiv 2006.11239, appendix B",
    )
    tasks: ClassVar[tuple[str, ...]] = ("segmentation", "denoising")
    images: ClassVar[bool] = True

    kind: Literal["unet"] = "unet"
    depth: int = Field(3, ge=1, le=1000)
    """Blocks of two convolutions on the way down, spread evenly over the stages; up there is one for each halving."""
    width: int = Field(16, ge=1, le=8192)
    """Channels of the finest stage; each coarser one has twice as many."""
    stages: int = Field(3, ge=1, le=6)
    """Resolutions: times the image is halved, plus one."""
    skips: bool = True
    """Whether the way up reads what the way down had at the same resolution."""
    activation: Activation = Relu()
    """In and after each block."""
    norm: Norm | None = GroupNorm()
    """After each convolution (or before, with pre placement); null for none."""
    connection: Connection | None = None
    """Around each block; null for plain blocks, as published."""


class Fpn(Architecture):
    """Feature pyramid: a residual net, whose coarse levels are carried back to the finer ones, all of one width."""

    entry: ClassVar[Entry] = Entry(
        section="7",
        title="Feature pyramid network",
        formula="p_s = K_s ∗ m_s, m_s = L_s ∗ c_s + up(m_{s+1}), c_s of stage s; y = W ∗ act(norm(Σ_s up(p_s)))",
        controls="how much of the coarse stages' context each finer level has",
        when="An answer for each pixel, where objects come in many sizes.",
        source="Lin et al. 2017, arXiv 1612.03144, section 3; an answer per pixel: Kirillov et al. 2019, arXiv "
        "1901.02446, section 3.1",
    )
    tasks: ClassVar[tuple[str, ...]] = ("segmentation",)
    images: ClassVar[bool] = True

    kind: Literal["fpn"] = "fpn"
    depth: int = Field(3, ge=1, le=10_000)
    """Blocks of two convolutions on the way down, spread evenly over the stages."""
    width: int = Field(16, ge=1, le=8192)
    """Channels of the finest stage and of every level of the pyramid; each coarser stage has twice as many."""
    stages: int = Field(3, ge=1, le=6)
    """Resolutions: times the image is halved, plus one."""
    activation: Activation = Relu()
    """In and after each block."""
    norm: Norm | None = BatchNorm()
    """After each convolution (or before, with pre placement); null for none."""
    connection: Connection | None = Residual(placement="post")
    """Around each block on the way down; null for plain blocks."""


Model = Annotated[
    Mlp | Cnn | ResNet | DenseNet | HighwayNet | Transformer | UNet | Fpn, Field(discriminator="kind"), Shorthand
]
"""Any architecture."""
