"""Normalization layers (brief section 1)."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gyrostat.spec.catalogue import Entry, Shorthand, Technique


class BatchNorm(Technique):
    """Batch normalization."""

    family: ClassVar[str] = "norm"
    entry: ClassVar[Entry] = Entry(
        section="1",
        title="Batch normalization",
        formula="y = γ·(x − μ_B)/√(σ²_B + ε) + β, μ_B and σ²_B per channel over the batch; running averages in eval",
        controls="scale and mean of every channel over the batch",
        when="Convolutional nets with batches of 16 or more; allows learning rates several times larger.",
        treats=("exploding_gradient", "vanishing_gradient", "dead_units", "sharpness"),
        source="Ioffe and Szegedy 2015, arXiv 1502.03167, algorithm 1",
    )

    kind: Literal["batch"] = "batch"
    eps: float = Field(1e-5, gt=0, le=0.1)
    """Added to the variance."""
    momentum: float = Field(0.1, gt=0, le=1)
    """Weight of the newest batch in the running averages."""


class LayerNorm(Technique):
    """Layer normalization."""

    family: ClassVar[str] = "norm"
    entry: ClassVar[Entry] = Entry(
        section="1",
        title="Layer normalization",
        formula="y = γ·(x − μ_L)/√(σ²_L + ε) + β, μ_L and σ²_L per sample over its features",
        controls="scale and mean of every sample's features",
        when="Sequence models and transformers, and any batch size, since samples do not see one another.",
        treats=("exploding_gradient", "vanishing_gradient", "sharpness"),
        source="Ba, Kiros and Hinton 2016, arXiv 1607.06450, eq. 3",
    )

    kind: Literal["layer"] = "layer"
    eps: float = Field(1e-5, gt=0, le=0.1)
    """Added to the variance."""


class GroupNorm(Technique):
    """Group normalization."""

    family: ClassVar[str] = "norm"
    entry: ClassVar[Entry] = Entry(
        section="1",
        title="Group normalization",
        formula="y = γ·(x − μ_g)/√(σ²_g + ε) + β, μ_g and σ²_g per sample over a group of channels",
        controls="scale and mean of groups of channels, per sample",
        when="Convolutional nets with batches too small for batch normalization; diffusion models.",
        treats=("exploding_gradient", "vanishing_gradient", "sharpness"),
        source="Wu and He 2018, arXiv 1803.08494, eq. 1-7",
    )

    kind: Literal["group"] = "group"
    groups: int = Field(8, ge=1, le=4096)
    """Number of groups; must divide the channels."""
    eps: float = Field(1e-5, gt=0, le=0.1)
    """Added to the variance."""


class InstanceNorm(Technique):
    """Instance normalization."""

    family: ClassVar[str] = "norm"
    entry: ClassVar[Entry] = Entry(
        section="1",
        title="Instance normalization",
        formula="y = γ·(x − μ_nc)/√(σ²_nc + ε) + β, μ_nc and σ²_nc per sample and channel over the image",
        controls="scale and mean of every channel of every image, whatever the other images are",
        when="Images whose contrast and brightness should not matter; in eval it does what it does in training.",
        treats=("exploding_gradient", "vanishing_gradient", "sharpness"),
        source="Ulyanov, Vedaldi and Lempitsky 2016, arXiv 1607.08022",
    )

    kind: Literal["instance"] = "instance"
    eps: float = Field(1e-5, gt=0, le=0.1)
    """Added to the variance."""


class RmsNorm(Technique):
    """Root mean square normalization."""

    family: ClassVar[str] = "norm"
    entry: ClassVar[Entry] = Entry(
        section="+",
        title="Root mean square normalization",
        formula="y = γ·x/√(mean(x²) + ε), the mean per sample (and position, and pixel) over its features",
        controls="scale of every sample's features; their mean is left alone",
        when="Where layer normalization helps; cheaper, and usual in large transformers.",
        treats=("exploding_gradient", "vanishing_gradient", "sharpness"),
        source="Zhang and Sennrich 2019, arXiv 1910.07467, eq. 4",
    )

    kind: Literal["rms"] = "rms"
    eps: float = Field(1e-6, gt=0, le=0.1)
    """Added to the mean square."""


Norm = Annotated[BatchNorm | LayerNorm | GroupNorm | InstanceNorm | RmsNorm, Field(discriminator="kind"), Shorthand]
"""Any normalization layer."""


class WeightNorm(Technique):
    """Weight normalization."""

    family: ClassVar[str] = "parametrization"
    entry: ClassVar[Entry] = Entry(
        section="1",
        title="Weight normalization",
        formula="w = g·v/‖v‖₂ for each output unit; g and v are learnt in place of w",
        controls="length and direction of each unit's weights, apart from one another",
        when="Where batch normalization cannot be had: recurrent nets, tiny batches, generative models. It acts on all "
        "linear layers and convolutions, the output's among them, and leaves the function at the start as it was. "
        "Weight decay shrinks g, and so w; on v it only sets how fast directions turn.",
        treats=("sharpness",),
        source="Salimans and Kingma 2016, arXiv 1602.07868, eq. 2",
    )

    kind: Literal["weight_norm"] = "weight_norm"
