"""What is stated of a metric, and the stages at which metrics are taken."""

from dataclasses import dataclass
from typing import Literal

MetricAxis = Literal["run", "module", "parameter", "matrix", "head", "rank", "eigenvalue"]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """When a value is taken, and of what: true in every precision, number of micro-batches and number of ranks.

    Attributes:
        when: the moment in a step.
        scale: what is divided out of it, or what it is normalized by.
        reduction: over which samples, micro-batches and ranks it is taken.
    """

    name: str
    when: str
    scale: str
    reduction: str


BATCH = Stage(
    name="batch",
    when="in the step's forward passes, before the update",
    scale="mean over samples, without the loss scale",
    reduction="the step's whole batch: all micro-batches, all ranks",
)
FORWARD = Stage(
    name="forward",
    when="in the step's forward passes, before the update",
    scale="as the modules compute it, in their own number format",
    reduction="rank 0's share of the batch, all micro-batches taken together",
)
BACKWARD = Stage(
    name="backward",
    when="in the step's backward passes",
    scale="of the mean loss of the whole batch, without the loss scale",
    reduction="rank 0's share of the batch, all micro-batches taken together",
)
GRADIENT = Stage(
    name="gradient",
    when="when the gradient is final, before clipping and before the update",
    scale="of the mean loss of the whole batch, without the loss scale",
    reduction="all micro-batches added up, mean over ranks",
)
PARTS = Stage(
    name="parts",
    when="at the weights of the step, before the update; where the run has no micro-batches, in passes of its own: "
    "dropout off, float32 or wider",
    scale="of mean losses, without the loss scale",
    reduction="micro-batches apart from each other, of several ranks rank 0's against the whole batch; where the run "
    "has none, equal parts of the fixed probe batch, rank 0 alone",
)
CLIPPED = Stage(
    name="clipped",
    when="after clipping, before gradient noise and the update",
    scale="of the mean loss of the whole batch, without the loss scale",
    reduction="all micro-batches added up, mean over ranks",
)
UPDATED = Stage(
    name="updated",
    when="after the optimizer's step",
    scale="as stored, in the parameters' own number format",
    reduction="rank 0's copy; tied parameters once",
)
LANDSCAPE = Stage(
    name="landscape",
    when="after the optimizer's step, in passes of its own: dropout off, float32 or wider",
    scale="of the mean loss of the fixed probe batch",
    reduction="rank 0 alone; batch statistics of the probe batch",
)
FEATURES = Stage(
    name="features",
    when="after the optimizer's step, in passes of its own in eval mode",
    scale="as the modules compute it, in float32 or wider",
    reduction="the fixed probe batch, rank 0 alone",
)
VALIDATION = Stage(
    name="validation",
    when="at a validation, after the update, in eval mode",
    scale="mean over samples",
    reduction="the held-out data, rank 0 alone",
)
PROCESS = Stage(
    name="process",
    when="at the end of the step",
    scale="as measured",
    reduction="rank 0's process",
)

STAGES = (BATCH, FORWARD, BACKWARD, GRADIENT, PARTS, CLIPPED, UPDATED, LANDSCAPE, FEATURES, VALIDATION, PROCESS)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric's meaning.

    Attributes:
        unit: "1" for pure numbers.
        axis: what its values are indexed by.
        stage: when it is taken, and of what; the description says what departs from it.
        description: what is measured.
        log: whether its values span orders of magnitude, so that charts use a logarithmic scale.
        source: definition, where one is needed.
    """

    name: str
    unit: str
    axis: MetricAxis
    stage: Stage
    description: str
    log: bool = False
    source: str = ""
