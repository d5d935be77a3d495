"""Mixup and CutMix (brief section 5): training between the samples instead of only on them."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gyrostat.spec.catalogue import Entry, Shorthand, Technique


class Mixup(Technique):
    """Weighted means of two samples and of their labels."""

    family: ClassVar[str] = "mix"
    entry: ClassVar[Entry] = Entry(
        section="5",
        title="Mixup",
        formula="x̃ = λx_i + (1 − λ)x_j, ỹ = λy_i + (1 − λ)y_j, λ ~ Beta(α, α) once a batch, j a permutation of i",
        controls="linearity of the net between samples; the decision boundary gets smoother",
        when="Classification that over-fits or is over-confident; small data.",
        source="Zhang et al. 2017, arXiv 1710.09412, section 2",
    )

    kind: Literal["mixup"] = "mixup"
    alpha: float = Field(0.2, gt=0, le=100)
    """α: near 0 hardly mixes, 1 draws λ evenly, large ones always mix halves."""
    probability: float = Field(1.0, ge=0, le=1)
    """Of a batch being mixed."""


class CutMix(Technique):
    """A box of one image pasted into another; labels mixed by the area that was kept."""

    family: ClassVar[str] = "mix"
    entry: ClassVar[Entry] = Entry(
        section="5",
        title="CutMix",
        formula="x̃ = M⊙x_i + (1 − M)⊙x_j, ỹ = λy_i + (1 − λ)y_j; the box is √(1 − λ') of each side, λ' ~ Beta(α, α), "
        "clipped at the border; λ = share of pixels kept",
        controls="reliance on one telling part of the image",
        when="Image classification; unlike mixup it leaves local texture natural.",
        source="Yun et al. 2019, arXiv 1905.04899, eq. 1 and 2",
    )

    kind: Literal["cutmix"] = "cutmix"
    alpha: float = Field(1.0, gt=0, le=100)
    """α of the Beta distribution that the box's area is drawn from; 1 draws evenly."""
    probability: float = Field(1.0, ge=0, le=1)
    """Of a batch being mixed."""


Mix = Annotated[Mixup | CutMix, Field(discriminator="kind"), Shorthand]
"""Any mixing of samples."""
