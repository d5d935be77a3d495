"""Attention (brief section 6)."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gyrostat.spec.catalogue import Entry, Shorthand, Technique


class QkNorm(Technique):
    """Normalization of queries and keys."""

    family: ClassVar[str] = "attention"
    entry: ClassVar[Entry] = Entry(
        section="+",
        title="Query-key normalization",
        formula="q̂ = γ_q ⊙ q/rms(q), k̂ = γ_k ⊙ k/rms(k) per head, so |q̂·k̂|/√d_k ≤ √d_k·max|γ_q|·max|γ_k|",
        controls="how large attention logits can become",
        when="Transformers whose largest logit grows in training until attention is all on one position.",
        treats=("divergence", "loss_spike"),
        source="Henry et al. 2020, arXiv 2010.04245; with learnt gains: Dehghani et al. 2023, arXiv 2302.05442, "
        "section 2",
    )

    kind: Literal["qk_norm"] = "qk_norm"
    eps: float = Field(1e-6, gt=0, le=0.1)
    """Added to the mean square."""


class LogitSoftCap(Technique):
    """Soft cap on attention logits."""

    family: ClassVar[str] = "attention"
    entry: ClassVar[Entry] = Entry(
        section="+",
        title="Soft cap on attention logits",
        formula="logits ← c·tanh(logits/c), so |logits| ≤ c",
        controls="how large attention logits can become",
        when="Transformers whose largest logit grows in training; small logits are left as they are.",
        treats=("divergence", "loss_spike"),
        source="Gemma Team 2024, arXiv 2408.00118, section 2, logit soft-capping",
    )

    kind: Literal["logit_soft_cap"] = "logit_soft_cap"
    cap: float = Field(50.0, gt=0, le=1e4)
    """c."""


class AttentionTechnique(Technique):
    """What every attention offers."""

    family: ClassVar[str] = "attention"
    qk_norm: Annotated[QkNorm, Shorthand] | None = None
    """Normalizes queries and keys before their products; null leaves them as they are."""
    logit_soft_cap: Annotated[LogitSoftCap, Shorthand] | None = None
    """Bounds the logits before the softmax, after `qk_norm`; null for none."""


class MultiHead(AttentionTechnique):
    """Multi-head self-attention."""

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


class SelfAttention(AttentionTechnique):
    """Self-attention with a single head."""

    entry: ClassVar[Entry] = Entry(
        section="6",
        title="Self-attention",
        formula="softmax(QKᵀ/√d)·V·W_O, causally masked in a decoder",
        controls="which positions each position reads, one weighting for all features",
        when="Short sequences and small widths, and to see what several heads add.",
        source="Vaswani et al. 2017, arXiv 1706.03762, eq. 1",
    )
    heads: ClassVar[int] = 1

    kind: Literal["self"] = "self"


class CrossAttention(AttentionTechnique):
    """Attention of one sequence to another."""

    entry: ClassVar[Entry] = Entry(
        section="6",
        title="Cross-attention",
        formula="Concat(h₁..h_H)·W_O, h = softmax(QKᵀ/√d_k)·V, Q of the target, K and V of the source",
        controls="which positions of the source each position of the target reads",
        when="What is predicted depends on another sequence: translation, transduction, any condition.",
        source="Bahdanau, Cho and Bengio 2014, arXiv 1409.0473, eq. 5-6; Vaswani et al. 2017, arXiv 1706.03762, "
        "section 3.2.3",
    )

    kind: Literal["cross"] = "cross"
    heads: int = Field(4, ge=1, le=1024)
    """H; must divide the model's width."""


Attention = Annotated[MultiHead | SelfAttention, Field(discriminator="kind"), Shorthand]
"""Any self-attention."""
