"""Systems-level settings (brief sections 15 to 17), and what is kept of a run."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gyrostat.spec.catalogue import Entry, Settings, Shorthand, Technique


class Accumulation(Technique):
    """Gradient accumulation."""

    family: ClassVar[str] = "accumulation"
    entry: ClassVar[Entry] = Entry(
        section="16",
        title="Gradient accumulation",
        formula="g = Σᵢ (bᵢ/b)·∇L(micro-batch i), one optimizer step",
        controls="memory: a large batch in small pieces",
        when="The batch that training wants does not fit the device.",
        treats=("rank_divergence",),
        source="Goyal et al. 2017, arXiv 1706.02677, section 3",
    )

    kind: Literal["micro_batches"] = "micro_batches"
    steps: int = Field(1, ge=1, le=4096)
    """Micro-batches of one optimizer step; must divide the batch size."""


class Fp32(Technique):
    """Single precision throughout."""

    family: ClassVar[str] = "precision"
    entry: ClassVar[Entry] = Entry(
        section="15",
        title="Single precision",
        formula="every operation in float32: 24 bits of significand, 8 of exponent",
        controls="rounding",
        when="Memory and time allow it, or lower precision is suspected of a fault.",
        source="Micikevicius et al. 2018, arXiv 1710.03740, the baseline of section 4",
    )

    kind: Literal["fp32"] = "fp32"


class Bf16(Technique):
    """Mixed precision with bfloat16."""

    family: ClassVar[str] = "precision"
    entry: ClassVar[Entry] = Entry(
        section="15",
        title="Mixed precision, bfloat16",
        formula="matrix products and convolutions in bfloat16 (8 bits of significand, float32's range); weights, "
        "reductions and the optimizer in float32",
        controls="memory, time, and rounding of activations",
        when="The device computes faster in 16 bits; the range is float32's, so that no loss scale is needed.",
        treats=("non_finite",),
        source="Kalamkar et al. 2019, arXiv 1905.12322, section 3",
    )

    kind: Literal["bf16"] = "bf16"


class Fp16(Technique):
    """Mixed precision with float16 and a dynamic loss scale.

    A step whose gradient holds a NaN or an infinity leaves weights and optimizer as they are and makes the scale
    smaller.
    """

    family: ClassVar[str] = "precision"
    entry: ClassVar[Entry] = Entry(
        section="15",
        title="Mixed precision, float16 with loss scaling",
        formula="g = ∇(S·L)/S; S ← S·backoff and no step where g is not finite; S ← S·growth after `growth_interval` "
        "steps in a row",
        controls="memory, time, and gradients too small for float16's range",
        when="The device computes faster in 16 bits and has no bfloat16.",
        source="Micikevicius et al. 2018, arXiv 1710.03740, section 3.2",
    )

    kind: Literal["fp16"] = "fp16"
    initial_scale: float = Field(65536.0, ge=1.0, le=2.0**24)
    """Loss scale S of the first step."""
    growth_factor: float = Field(2.0, gt=1.0, le=16.0)
    """What S is multiplied with after `growth_interval` steps without an overflow."""
    growth_interval: int = Field(2000, ge=1, le=1_000_000)
    """Steps in a row without an overflow until S grows."""
    backoff_factor: float = Field(0.5, gt=0.0, lt=1.0)
    """What S is multiplied with at an overflow."""


Precision = Annotated[Fp32 | Bf16 | Fp16, Field(discriminator="kind"), Shorthand]


class Ddp(Technique):
    """Data-parallel training in several processes of one machine, started by torch's elastic launcher."""

    family: ClassVar[str] = "distributed"
    entry: ClassVar[Entry] = Entry(
        section="17",
        title="Distributed data parallel",
        formula="g = (1/R)·Σᵣ gᵣ, gᵣ of the r-th of R equal shares of the step's batch; with synchronized batch "
        "normalization μ and σ² are those of all shares together",
        controls="batch per device, statistics of batch normalization, agreement of the replicas",
        when="A batch is too large or too slow for one device, or a share of it is too small for batch statistics.",
        source="Li et al. 2020, arXiv 2006.15704, section 3; synchronized statistics: Peng et al. 2018 (MegDet), "
        "arXiv 1711.07240, section 3.3",
    )

    kind: Literal["ddp"] = "ddp"
    ranks: int = Field(2, ge=1, le=64)
    """Processes, one device each (on a CPU they share the cores); they and the micro-batches divide the batch size."""
    sync_batch_norm: bool = True
    """Batch normalization takes its statistics over the shares of all ranks, not over each rank's own."""
    digest_every: int = Field(10, ge=1, le=1_000_000)
    """Steps between two comparisons of the ranks' weights and gradients."""


Distributed = Annotated[Ddp, Shorthand]


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
