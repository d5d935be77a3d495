"""Learning-rate schedules (brief section 10): a factor on the optimizer's rate. Warmup composes with the others."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gyrostat.spec.catalogue import Entry, Shorthand, Technique


class LinearWarmup(Technique):
    """Linear warmup."""

    family: ClassVar[str] = "schedule"
    entry: ClassVar[Entry] = Entry(
        section="10",
        title="Linear warmup",
        formula="factor(t) = s + (1 − s)·t/T for t < T, then the schedule proper, counted from T; alone, 1 from there",
        controls="the step size while curvature is high and Adam's moments are young",
        when="Transformers, Adam, large batches: where training diverges in its first steps.",
        treats=("divergence", "sharpness", "loss_spike", "exploding_gradient"),
        source="Goyal et al. 2017, arXiv 1706.02677, section 2.2",
    )

    kind: Literal["linear_warmup"] = "linear_warmup"
    steps: int = Field(100, ge=1, le=10_000_000)
    """T: steps until the full rate."""
    start_factor: float = Field(0.0, ge=0, le=1)
    """s: the factor at step 0."""

    @property
    def warmup(self) -> "LinearWarmup":
        """Itself, as a whole schedule: warmup, then a constant rate."""
        return self


Warmup = Annotated[LinearWarmup, Shorthand]


class Constant(Technique):
    """Constant learning rate."""

    family: ClassVar[str] = "schedule"
    entry: ClassVar[Entry] = Entry(
        section="10",
        title="Constant",
        formula="factor(t) = 1",
        controls="nothing: the rate stays",
        when="Short runs, searches for a rate, and as a control.",
        source="Robbins and Monro 1951, Annals of Mathematical Statistics 22 (for why it must fall in the end)",
    )

    kind: Literal["constant"] = "constant"
    warmup: Warmup | None = None
    """Before the schedule proper; null for none."""


class Cosine(Technique):
    """Cosine decay."""

    family: ClassVar[str] = "schedule"
    entry: ClassVar[Entry] = Entry(
        section="10",
        title="Cosine decay",
        formula="factor(t) = f + (1 − f)·(1 + cos(π·t/T))/2 over the T steps after warmup",
        controls="the step size over the run",
        when="Almost always: a large rate early, a small one at the end.",
        treats=("divergence", "loss_spike"),
        source="Loshchilov and Hutter 2016, arXiv 1608.03983, eq. 5",
    )

    kind: Literal["cosine"] = "cosine"
    final_factor: float = Field(0.0, ge=0, le=1)
    """f: the factor that the last step approaches."""
    warmup: Warmup | None = None
    """Before the schedule proper; null for none."""


class CosineWarmRestarts(Technique):
    """Cosine decay with warm restarts (SGDR)."""

    family: ClassVar[str] = "schedule"
    entry: ClassVar[Entry] = Entry(
        section="10",
        title="Cosine with warm restarts",
        formula="factor(t) = f + (1 − f)·(1 + cos(π·tᵢ/Tᵢ))/2, tᵢ steps after the last restart; Tᵢ₊₁ = m·Tᵢ",
        controls="the step size, again and again from large to small",
        when="Runs that may be stopped at the end of any cycle, and losses with many basins.",
        source="Loshchilov and Hutter 2016, arXiv 1608.03983, eq. 5",
    )

    kind: Literal["cosine_warm_restarts"] = "cosine_warm_restarts"
    period: int = Field(1000, ge=1, le=1_000_000_000)
    """T₀: steps until the first restart, after warmup."""
    multiplier: int = Field(1, ge=1, le=100)
    """m: each cycle is so many times as long as the one before."""
    final_factor: float = Field(0.0, ge=0, le=1)
    """f: the factor that each cycle approaches."""
    warmup: Warmup | None = None
    """Before the first cycle; null for none."""


class OneCycle(Technique):
    """The 1cycle policy."""

    family: ClassVar[str] = "schedule"
    entry: ClassVar[Entry] = Entry(
        section="10",
        title="One cycle",
        formula="factor rises from s to 1 over the first r·T − 1 steps, then falls to f at the last, by half cosines",
        controls="the step size over the whole run, warmup included",
        when="Short runs at a rate near the largest stable one. The paper cycles momentum the other way round; here it "
        "keeps its value, for Adam's bias corrections and the stability limit are of a fixed one.",
        treats=("divergence", "sharpness"),
        source="Smith and Topin 2017, arXiv 1708.07120, section 2; cosine in place of lines as in torch's OneCycleLR",
    )

    kind: Literal["one_cycle"] = "one_cycle"
    rise: float = Field(0.3, ge=0, lt=1)
    """r: share of the run in which the rate rises."""
    start_factor: float = Field(0.04, ge=0, le=1)
    """s: the factor at the first step."""
    final_factor: float = Field(4e-6, ge=0, le=1)
    """f: the factor at the last step."""
    warmup: Warmup | None = None
    """Must stay null: the cycle begins with a warmup of its own."""


class WarmupStableDecay(Technique):
    """Warmup, stable, decay."""

    family: ClassVar[str] = "schedule"
    entry: ClassVar[Entry] = Entry(
        section="+",
        title="Warmup-stable-decay",
        formula="after warmup factor(t) = 1 until (1 − d)·T, then f + (1 − f)·(1 − √u) (sqrt) or f + (1 − f)·(1 − u) "
        "(linear), u = (t − (1 − d)T)/(dT)",
        controls="the step size: large for most of the run, small in a last part",
        when="Long runs whose end is not fixed: any step of the stable part can be forked into a decay.",
        treats=("divergence",),
        source="Hu et al. 2024, arXiv 2404.06395, section 4; sqrt: Hägele et al. 2024, arXiv 2405.18392, section 3",
    )

    kind: Literal["warmup_stable_decay"] = "warmup_stable_decay"
    decay: float = Field(0.2, gt=0, le=1)
    """d: share of the steps after warmup in which the rate falls."""
    shape: Literal["sqrt", "linear"] = "sqrt"
    """How it falls: first fast, then slower (sqrt), or evenly."""
    final_factor: float = Field(0.0, ge=0, le=1)
    """f: the factor that the last step approaches."""
    warmup: Warmup | None = None
    """The first part; null starts at the full rate."""


Schedule = Annotated[
    Constant | LinearWarmup | Cosine | CosineWarmRestarts | OneCycle | WarmupStableDecay,
    Field(discriminator="kind"),
    Shorthand,
]
"""Any schedule."""
