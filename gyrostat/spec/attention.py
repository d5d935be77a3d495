"""Attention (brief section 6)."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gyrostat.spec.catalogue import Entry, Shorthand, Technique


class MultiHead(Technique):
    """Multi-head self-attention."""

    family: ClassVar[str] = "attention"
    entry: ClassVar[Entry] = Entry(
        section="6",
        title="Multi-head self-attention",
        formula="Concat(h₁..h_H)·W_O, h = softmax(QKᵀ/√d_k)·V, causally masked in a decoder",
        controls="which positions each position reads",
        when="Sequences: every position sees all it may see in one layer.",
        source="Vaswani et al. 2017, arXiv 1706.03762, eq. 1 and section 3.2.2",
    )

    kind: Literal["multi_head"] = "multi_head"
    heads: int = Field(4, ge=1, le=1024)
    """H; must divide the model's width."""


Attention = Annotated[MultiHead, Shorthand]
"""Any attention."""
