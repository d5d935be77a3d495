"""Curriculum learning (brief section 5): easy samples first, then all of them."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gyrostat.spec.catalogue import Entry, Shorthand, Technique

PACING = (
    "pool at step t: the easiest c(t) of all; linear c = min(1, c₀ + (1 − c₀)t/T), root c = min(1, √(c₀² + "
    "(1 − c₀²)t/T)), step c = c₀ until T, then 1"
)


class Curriculum(Technique):
    """What all curricula share: how the pool of samples grows."""

    family: ClassVar[str] = "curriculum"
    pacing: Literal["linear", "root", "step"] = "root"
    """How the pool grows; root gives each new sample as much time as the ones before."""
    start_fraction: float = Field(0.2, gt=0, le=1)
    """c₀: the easiest part, which the first steps draw from (at least one batch)."""
    steps: int | None = Field(None, ge=1, le=1_000_000_000)
    """T: steps until all data is in the pool; null for half of the run."""


class LossCurriculum(Curriculum):
    """Easy is what a small fixed teacher gets right."""

    entry: ClassVar[Entry] = Entry(
        section="5",
        title="Curriculum by a teacher's loss",
        formula="score = loss of a teacher on the sample: ridge regression onto the targets (classes one-hot), for "
        "text a bigram model's −log p, mean over the window; " + PACING,
        controls="the order of samples",
        when="Noisy labels, or a loss that falls slowly at first.",
        source="Hacohen and Weinshall 2019, arXiv 1904.03626, section 2; Bengio et al. 2009, ICML, Curriculum "
        "Learning; pacing: Platanios et al. 2019, arXiv 1903.09848, competence functions",
    )

    kind: Literal["loss"] = "loss"


class LengthCurriculum(Curriculum):
    """Easy is a text of few different tokens."""

    entry: ClassVar[Entry] = Entry(
        section="5",
        title="Curriculum by length",
        formula="score = number of different tokens in the window; " + PACING,
        controls="the order of windows of text",
        when="Language models in their first steps.",
        source="Bengio et al. 2009, ICML, Curriculum Learning; Platanios et al. 2019, arXiv 1903.09848, "
        "sentence length and competence functions",
    )

    kind: Literal["length"] = "length"


class NoiseCurriculum(Curriculum):
    """Easy is an image with little noise."""

    entry: ClassVar[Entry] = Entry(
        section="5",
        title="Curriculum by noise",
        formula="score = σ̂ = √(π/2)·mean|x ∗ N|/6, N = [[1, −2, 1], [−2, 4, −2], [1, −2, 1]], mean over pixels and "
        "channels; " + PACING,
        controls="the order of images",
        when="Images of unequal quality.",
        source="Immerkær 1996, Computer Vision and Image Understanding 64(2); Bengio et al. 2009, ICML; "
        "Platanios et al. 2019, arXiv 1903.09848, competence functions",
    )

    kind: Literal["noise"] = "noise"


AnyCurriculum = Annotated[LossCurriculum | LengthCurriculum | NoiseCurriculum, Field(discriminator="kind"), Shorthand]
"""Any curriculum."""
