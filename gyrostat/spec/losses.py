"""Loss functions, and what the training loss of a classifier may hold besides (brief sections 4 and 11)."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gyrostat.spec.catalogue import Entry, Shorthand, Technique
from gyrostat.spec.contrastive import InfoNce, PairContrastive, Triplet

CLASS_TASKS = ("classification", "language_model", "sequence_to_sequence", "segmentation")
"""Kinds of tasks whose models answer a score for each of K classes."""

ClassWeights = Literal["balanced"] | list[Annotated[float, Field(gt=0, le=1e6)]] | None
"""One weight a class, or where they come from."""


class CrossEntropy(Technique):
    """Cross-entropy, of class numbers or of class probabilities."""

    family: ClassVar[str] = "loss"
    tasks: ClassVar[tuple[str, ...]] = CLASS_TASKS
    entry: ClassVar[Entry] = Entry(
        section="11",
        title="Cross-entropy",
        formula="(1/N)·Σ w_y·(−log softmax(z)_y), over samples (and positions or pixels); w of mean 1 over the "
        "training labels, so that no batch's own labels change the scale",
        controls="what the net is asked to do: put probability on the right class",
        when="Classification, segmentation and language models; class weights where some classes are rare.",
        source="Goodfellow, Bengio and Courville 2016, Deep Learning, section 6.2.2.3; balanced weights: King and Zeng "
        "2001, Political Analysis 9",
    )

    kind: Literal["cross_entropy"] = "cross_entropy"
    class_weights: ClassWeights = None
    """w: null for 1, "balanced" for the inverse of each class's count of training labels, or a list, one a class.

    Normalized to a mean of 1 over the training labels; loss.validation is weighted by the same numbers."""


class Focal(Technique):
    """Focal loss: cross-entropy that counts easy samples less."""

    family: ClassVar[str] = "loss"
    tasks: ClassVar[tuple[str, ...]] = CLASS_TASKS
    entry: ClassVar[Entry] = Entry(
        section="11",
        title="Focal loss",
        formula="(1/N)·Σ w_y·(1 − p_y)^γ·(−log p_y), p = softmax(z); w of mean 1 over the training labels",
        controls="how much the gradient of a batch comes from the samples that are right already",
        when="Rare classes drown in many easy samples of frequent ones.",
        source="Lin et al. 2017, arXiv 1708.02002, eq. 5",
    )

    kind: Literal["focal"] = "focal"
    gamma: float = Field(2.0, ge=0, le=20)
    """γ: 0 is cross-entropy; 2 is the paper's."""
    class_weights: ClassWeights = None
    """w, the paper's α: as of cross-entropy."""


class Mse(Technique):
    """Mean squared error."""

    family: ClassVar[str] = "loss"
    tasks: ClassVar[tuple[str, ...]] = ("regression", "denoising")
    entry: ClassVar[Entry] = Entry(
        section="11",
        title="Mean squared error",
        formula="(ŷ − y)², averaged over samples and outputs",
        controls="what the net is asked to do: predict the conditional mean",
        when="Regression.",
        source="Goodfellow, Bengio and Courville 2016, Deep Learning, section 6.2.2.1",
    )

    kind: Literal["mse"] = "mse"


Loss = Annotated[
    CrossEntropy | Focal | Mse | PairContrastive | Triplet | InfoNce, Field(discriminator="kind"), Shorthand
]
"""Any loss."""


class LabelSmoothing(Technique):
    """Label smoothing."""

    family: ClassVar[str] = "label_smoothing"
    entry: ClassVar[Entry] = Entry(
        section="4",
        title="Label smoothing",
        formula="y′ = (1 − ε)·y + ε/K in the training loss; loss.validation stays that of y",
        controls="how far apart the logits are driven, and with it overconfidence",
        when="A classifier is surer of itself than it is right: its expected calibration error is large.",
        source="Szegedy et al. 2015, arXiv 1512.00567, section 7",
    )

    kind: Literal["uniform"] = "uniform"
    epsilon: float = Field(0.1, ge=0, lt=1)
    """ε: the probability that is spread evenly over all K classes."""


class ConfidencePenalty(Technique):
    """Penalty on confident outputs."""

    family: ClassVar[str] = "confidence_penalty"
    entry: ClassVar[Entry] = Entry(
        section="11",
        title="Confidence penalty",
        formula="L − β·H(p) in the training loss, H(p) = −Σ_k p_k·log p_k = log K − KL(p ‖ uniform)",
        controls="the entropy of what a classifier answers",
        when="A classifier puts all its probability on one class early, and overfits.",
        source="Pereyra et al. 2017, arXiv 1701.06548, section 3",
    )

    kind: Literal["entropy"] = "entropy"
    weight: float = Field(0.1, ge=0, le=100)
    """β."""
