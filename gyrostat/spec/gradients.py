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


Clip = Annotated[ClipNorm, Shorthand]
"""Any gradient clipping."""


class Gradients(Settings):
    """What happens to the gradient before the optimizer sees it."""

    clip: Clip | None = None
    """Clipping; null leaves gradients as they are."""
