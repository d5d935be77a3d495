"""Losses that compare embeddings with one another (brief sections 11 and 14)."""

from typing import ClassVar, Literal

from pydantic import Field

from gyrostat.spec.catalogue import Entry, Technique

TASKS = ("contrastive",)

_PAIRS = (
    "z on the unit sphere; positives of an anchor are the other views of its sample (supervised: all of its class), "
    "negatives the rest of the micro-batch on one rank, so that accumulation and ranks make them fewer"
)


class PairContrastive(Technique):
    """Contrastive loss over pairs."""

    family: ClassVar[str] = "loss"
    tasks: ClassVar[tuple[str, ...]] = TASKS
    entry: ClassVar[Entry] = Entry(
        section="11",
        title="Contrastive loss over pairs",
        formula="½·‖z_i − z_p‖² averaged over an anchor's positives + ½·max(0, m − ‖z_i − z_n‖)² averaged over its "
        f"negatives; mean over anchors. {_PAIRS}",
        controls="distances: like near like, unlike at least m apart",
        when="An embedding is wanted in which distance means unlikeness.",
        source="Hadsell, Chopra and LeCun 2006, CVPR, eq. 4",
    )

    kind: Literal["pair_contrastive"] = "pair_contrastive"
    margin: float = Field(1.0, gt=0, le=2)
    """m: how far apart unlike samples are pushed; 2 is the sphere's diameter."""


class Triplet(Technique):
    """Triplet loss with semi-hard negatives."""

    family: ClassVar[str] = "loss"
    tasks: ClassVar[tuple[str, ...]] = TASKS
    entry: ClassVar[Entry] = Entry(
        section="11",
        title="Triplet loss",
        formula="max(0, ‖z_i − z_p‖² − ‖z_i − z_n‖² + m), for each positive p with the nearest negative n that is "
        "farther than p (the farthest where none is); averaged over an anchor's positives, then over anchors. "
        f"{_PAIRS}",
        controls="the order of distances: like nearer than unlike, by a margin",
        when="Only the order of distances matters, as in retrieval.",
        source="Schroff, Kalenichenko and Philbin 2015, arXiv 1503.03832, sections 3.1 and 3.2",
    )

    kind: Literal["triplet"] = "triplet"
    margin: float = Field(0.2, gt=0, le=4)
    """m, of squared distances; 0.2 is the paper's."""


class InfoNce(Technique):
    """InfoNCE, normalized and temperature-scaled."""

    family: ClassVar[str] = "loss"
    tasks: ClassVar[tuple[str, ...]] = TASKS
    entry: ClassVar[Entry] = Entry(
        section="14",
        title="InfoNCE",
        formula="−log(exp(z_i·z_p/τ) / Σ_{a≠i} exp(z_i·z_a/τ)), averaged over an anchor's positives, then over "
        f"anchors. {_PAIRS}",
        controls="a lower bound on the information that two views of a sample share",
        when="Labels are few: an encoder learns from views of unlabelled samples.",
        source="van den Oord, Li and Vinyals 2018, arXiv 1807.03748, eq. 4; Chen et al. 2020, arXiv 2002.05709, eq. 1; "
        "supervised: Khosla et al. 2020, arXiv 2004.11362, eq. 2",
    )

    kind: Literal["infonce"] = "infonce"
    temperature: float = Field(0.5, ge=0.01, le=100)
    """τ: lower looks harder at the nearest negatives."""
