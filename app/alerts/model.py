"""What the judgement speaks: frames as detectors see them, verdicts, alerts and remedies. Pure values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gyrostat.spec.run import Severity
from gyrostat.wire.values import Float32Array

AlertState = Literal["open", "acknowledged", "resolved"]


@dataclass(frozen=True, eq=False, kw_only=True)
class FrameView:
    """One frame: metric -> (width,) float32, of the metrics that it holds; a scalar has width 1."""

    step: int
    values: Mapping[str, Float32Array]


@dataclass(frozen=True, eq=False, kw_only=True)
class RunContext:
    """What detectors may know of the run besides its frames.

    Attributes:
        axes: ordered names of each axis of the current layout.
        axis_of: metric -> axis.
        spec: the run's spec as JSON; None for an attached run.
    """

    axes: Mapping[str, tuple[str, ...]]
    axis_of: Mapping[str, str]
    spec: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One number behind a verdict: `metric` of `name` (None for a scalar) was `value` at `step`, over `threshold`."""

    metric: str
    name: str | None
    step: int
    value: float
    threshold: float | None
    text: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a detector says of one frame. `names`: the layers concerned, worst first; `summary`: one plain paragraph.

    `suspicious`: not a finding yet, but the probes shall look closer, so that it soon is one or none.
    """

    breached: bool
    suspicious: bool = False
    names: tuple[str, ...] = ()
    onset_step: int | None = None
    severity: Severity | None = None
    summary: str = ""
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """A change that may cure an alert, best first.

    Attributes:
        stabilizer: id in the catalogue, or None where it is no technique (a smaller rate).
        patch: JSON merge patch for a fork's spec.
        control: live change for the running training, or None where it needs a fork.
        reason: why it should help here, with the run's own numbers.
    """

    title: str
    stabilizer: str | None
    patch: dict[str, Any]
    control: dict[str, Any] | None
    reason: str
    source: str


ChangeKind = Literal["opened", "updated", "resolved"]


@dataclass(frozen=True, kw_only=True)
class AlertChange:
    """A step in the life of the one alert that a rule can have on a run at a time."""

    change: ChangeKind
    rule: str
    kind: str
    severity: Severity
    step: int
    names: tuple[str, ...] = ()
    onset_step: int | None = None
    summary: str = ""
    evidence: tuple[Evidence, ...] = ()
    remedies: tuple[Remedy, ...] = field(default=())


@dataclass(frozen=True, kw_only=True)
class RuleFailure:
    """A rule that raised instead of judging; it started afresh, and the other rules were judged as ever.

    Attributes:
        rule: its kind.
        step: of the frame at hand.
        error: the exception's type and what it says.
        traceback: as Python prints it.
        times: how often it has failed for this cause so far on this run; 1 the first time.
    """

    rule: str
    step: int
    error: str
    traceback: str
    times: int
