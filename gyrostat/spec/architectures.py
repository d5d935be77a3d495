"""Model architectures (brief sections 1, 2, 6 and 8 meet here)."""

from typing import Annotated, Literal

from pydantic import Field

from gyrostat.spec.activations import Activation, Gelu, Relu
from gyrostat.spec.attention import Attention, MultiHead
from gyrostat.spec.catalogue import Settings, Shorthand
from gyrostat.spec.connections import Connection, Residual
from gyrostat.spec.normalization import BatchNorm, LayerNorm, Norm


class Mlp(Settings):
    """Fully connected net: `depth` hidden layers of `width` units, then a linear output."""

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


class Cnn(Settings):
    """Plain convolutional net: `depth` 3 x 3 layers in stages that halve the image and double the channels."""

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


class ResNet(Settings):
    """Residual convolutional net: stages of two-convolution blocks, global average pooling, a linear output."""

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


class Transformer(Settings):
    """Decoder-only transformer: causal self-attention and a four times wider MLP in each block."""

    kind: Literal["transformer"] = "transformer"
    depth: int = Field(2, ge=1, le=10_000)
    """Blocks."""
    width: int = Field(64, ge=2, le=65_536)
    """Features of each position."""
    attention: Attention = MultiHead()
    """In each block."""
    activation: Activation = Gelu()
    """In each block's MLP."""
    norm: Norm | None = LayerNorm()
    """Before each branch (pre placement), or after each sum (post, as in Vaswani et al. 2017); null for none."""
    connection: Connection | None = Residual(placement="pre")
    """Around attention and MLP; null removes the skips."""


Model = Annotated[Mlp | Cnn | ResNet | Transformer, Field(discriminator="kind"), Shorthand]
"""Any architecture."""
