"""Of attention layers."""

from typing import ClassVar

from pydantic import Field

from gyrostat.spec.probes.base import Cost, Probe


class AttentionProbe(Probe):
    """How spread out each attention head's weights are, and how large its logits; of models with attention layers."""

    name: ClassVar[str] = "attention"
    cost: ClassVar[Cost] = "cheap"
    metrics: ClassVar[tuple[str, ...]] = ("attention.entropy", "attention.max_logit")
    every: int = Field(10, ge=1, le=1_000_000)
    """Optimizer steps between two measurements; the budget may stretch it."""
    sequences: int = Field(4, ge=1, le=65_536)
    """At most so many sequences are looked at, the first of the step's first micro-batch."""
