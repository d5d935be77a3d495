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


Norm = Annotated[BatchNorm | LayerNorm | GroupNorm, Field(discriminator="kind"), Shorthand]
"""Any normalization layer."""
