"""Systems-level settings (brief sections 15 to 17), and what is kept of a run."""

from typing import ClassVar, Literal

from pydantic import Field

from gyrostat.spec.catalogue import Entry, Settings, Technique


class Accumulation(Technique):
    """Gradient accumulation."""

    family: ClassVar[str] = "accumulation"
    entry: ClassVar[Entry] = Entry(
        section="16",
        title="Gradient accumulation",
        formula="g = Σᵢ (bᵢ/b)·∇L(micro-batch i), one optimizer step",
        controls="memory: a large batch in small pieces",
        when="The batch that training wants does not fit the device.",
        source="Goyal et al. 2017, arXiv 1706.02677, section 3",
    )

    kind: Literal["micro_batches"] = "micro_batches"
    steps: int = Field(1, ge=1, le=4096)
    """Micro-batches of one optimizer step; must divide the batch size."""


class Validation(Settings):
    """Measuring on held-out data."""

    every: int = Field(50, ge=1)
    """Optimizer steps between two validations; the last step is always validated."""
    max_batches: int | None = Field(None, ge=1)
    """Batches of one validation; null for the whole held-out part."""


class Checkpoints(Settings):
    """What is kept to resume, to fork and to use."""

    every: int = Field(100, ge=1)
    """Optimizer steps between two checkpoints; the last step always has one."""
    keep: int = Field(3, ge=1, le=1000)
    """The newest so many are kept; the best one stays besides."""
    best: bool = True
    """Keep the checkpoint with the lowest validation loss."""
