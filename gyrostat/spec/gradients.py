"""Gradient flow regulators that act between backward and the optimizer (brief section 3)."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gyrostat.spec.catalogue import Entry, Settings, Shorthand, Technique


class ClipNorm(Technique):
    """Gradient clipping by global norm."""

    family: ClassVar[str] = "clip"
    entry: ClassVar[Entry] = Entry(
        section="3",
        title="Gradient clipping by norm",
        formula="g ← g / max(1, ‖g‖₂/τ), ‖g‖₂ over all parameters, after unscaling and all micro-batches",
        controls="length of the whole gradient; its direction is kept",
        when="Recurrent nets, transformers, large rates: one rare huge gradient cannot throw the weights far away.",
        treats=("exploding_gradient", "loss_spike", "divergence", "non_finite"),
        source="Pascanu, Mikolov and Bengio 2012, arXiv 1211.5063, algorithm 1",
    )

    kind: Literal["norm"] = "norm"
    max_norm: float = Field(1.0, gt=0, le=1e6)
    """τ: the largest global norm that passes unchanged."""


class ClipValue(Technique):
    """Gradient clipping by value."""

    family: ClassVar[str] = "clip"
    entry: ClassVar[Entry] = Entry(
        section="+",
        title="Gradient clipping by value",
        formula="gᵢ ← min(τ, max(−τ, gᵢ)), each element alone, after unscaling and all micro-batches",
        controls="size of each element of the gradient; its direction changes",
        when="Gradients with a few huge elements, as of embeddings of rare tokens; else clip by norm.",
        treats=("exploding_gradient", "loss_spike"),
        source="Mikolov 2012, Statistical Language Models Based on Neural Networks, PhD thesis, Brno",
    )

    kind: Literal["value"] = "value"
    max_value: float = Field(0.5, gt=0, le=1e6)
    """τ: the largest magnitude that passes unchanged."""


class ClipAdaptive(Technique):
    """Adaptive gradient clipping (AGC)."""

    family: ClassVar[str] = "clip"
    entry: ClassVar[Entry] = Entry(
        section="+",
        title="Adaptive gradient clipping",
        formula="per output unit i: gᵢ ← gᵢ·min(1, λ·max(‖wᵢ‖₂, ε)/‖gᵢ‖₂), after unscaling and all micro-batches",
        controls="the gradient of each unit in proportion to the unit's weights",
        when="Nets without normalization at large batches; the last layer is clipped too, unlike theirs.",
        treats=("exploding_gradient", "loss_spike", "divergence", "update_ratio"),
        source="Brock et al. 2021, arXiv 2102.06171, eq. 3",
    )

    kind: Literal["adaptive"] = "adaptive"
    ratio: float = Field(0.01, gt=0, le=1e6)
    """λ: the largest ‖gᵢ‖/‖wᵢ‖ that passes unchanged."""
    eps: float = Field(1e-3, gt=0, le=1)
    """ε: least ‖wᵢ‖ that counts, so that units at zero can move."""


Clip = Annotated[ClipNorm | ClipValue | ClipAdaptive, Field(discriminator="kind"), Shorthand]
"""Any gradient clipping."""


class Gradients(Settings):
    """What happens to the gradient before the optimizer sees it."""

    clip: Clip | None = None
    """Clipping; null leaves gradients as they are."""
