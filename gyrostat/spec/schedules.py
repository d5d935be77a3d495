"""Learning-rate schedules (brief section 10): a factor on the optimizer's rate. Warmup composes with any of them."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gyrostat.spec.catalogue import Entry, Shorthand, Technique


class LinearWarmup(Technique):
    """Linear warmup."""

    family: ClassVar[str] = "schedule"
    entry: ClassVar[Entry] = Entry(
        section="10",
        title="Linear warmup",
        formula="factor(t) = s + (1 − s)·t/T for t < T, then the schedule proper, counted from T",
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


Schedule = Annotated[Constant | Cosine, Field(discriminator="kind"), Shorthand]
"""Any schedule."""
