"""Alert rules: what there is, what the operator changed, and what a rule would have said of a stored run."""

import heapq
import itertools
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from operator import itemgetter
from typing import Any

from pydantic import Field

from app.alerts import rules as alert_rules
from app.alerts.base import DETECTORS
from app.alerts.engine import Engine
from app.alerts.model import AlertChange, FrameView, RunContext
from app.errors import Conflict, Invalid, NotFound
from app.services import alerting, metrics
from app.services.alert_view import EvidenceView
from app.services.run_requests import Body
from app.services.run_view import View
from app.storage import alerts as alert_repository
from app.storage import runs as run_repository
from app.storage.database import Session
from gyrostat.spec.run import RuleOverride, Severity
from gyrostat.wire.values import Float32Array

MAX_FRAMES = 200_000
"""Frames that one backtest judges."""


class DetectorView(View):
    """A detector: what it finds, from what, and its thresholds."""

    kind: str
    title: str
    severity: Severity
    """Of its alerts, unless somebody changes it; a worse case may be worse."""
    metrics: list[str]
    """What it reads; empty where it is raised from outside the measurements."""
    explanation: str
    source: str
    """Where the thresholds come from."""
    hold: int
    """Breached evaluations in a row before an alert opens."""
    quiet: int
    """Clean evaluations in a row before it is resolved."""
    settings: dict[str, Any]
    """JSON schema of the thresholds, with their ranges and defaults."""


class RuleView(View):
    """A rule as it holds for all runs that do not change it themselves."""

    kind: str
    title: str
    enabled: bool
    severity: Severity
    settings: dict[str, float | int | bool]
    """Every threshold."""
    changed: bool
    """Whether the operator has changed anything."""


class BacktestRequest(Body):
    """A rule to try on what is stored of a run."""

    run: str = Field(max_length=64)
    """Id of the run."""
    rule: str = Field(max_length=64, examples=["divergence"])
    """Kind of the rule."""
    settings: dict[str, float | int | bool] = Field(default_factory=dict, examples=[{"factor": 5.0}])
    """Thresholds to try; the others keep their defaults."""


class BacktestChange(View):
    """What the rule would have said."""

    change: str
    step: int
    onset_step: int | None
    severity: Severity
    names: list[str]
    summary: str
    evidence: list[EvidenceView]


class Backtest(View):
    """Everything that the rule would have said of the run."""

    run: str
    rule: str
    settings: dict[str, float | int | bool]
    """Every threshold that was used."""
    frames: int
    """Stored frames that were judged."""
    truncated: bool
    """Whether there are more frames than one backtest judges."""
    items: list[BacktestChange]
    """In order of steps."""


def detectors() -> list[DetectorView]:
    """Every detector, in the catalogue's order."""
    return [
        DetectorView(
            kind=kind,
            title=detector.title,
            severity=detector.severity,
            metrics=list(detector.metrics),
            explanation=detector.explanation,
            source=detector.source,
            hold=detector.hold,
            quiet=detector.quiet,
            settings=detector.model_json_schema(),
        )
        for kind, detector in DETECTORS.items()
    ]


def list_rules(session: Session) -> list[RuleView]:
    """Every rule with the operator's changes."""
    changed = alert_repository.rules(session)
    return [_view(rule, rule.kind in changed) for rule in alerting.effective_rules(session, None)]


def put_rules(session: Session, overrides: Mapping[str, RuleOverride], now: datetime) -> list[RuleView]:
    """Makes these the operator's changes, all of them: a rule that is left out goes back to its defaults.

    Raises:
        Invalid: listing every unknown kind and threshold, and every value out of range.
    """
    _check(overrides)
    stored = {kind: override.model_dump(mode="json") for kind, override in overrides.items()}
    alert_repository.put_rules(session, stored, now)
    session.flush()
    return list_rules(session)


def backtest(session: Session, request: BacktestRequest) -> Backtest:
    """Replays the stored rows of the metrics that the rule reads.

    Raises:
        NotFound: no such run. Invalid: no such rule or threshold, or one that is not judged from measurements.
        Conflict: the rows as measured are given up.
    """
    run = run_repository.get(session, request.run)
    if run is None:
        raise NotFound(f"there is no run {request.run!r}; GET /v1/runs lists those there are")
    if run.thinned_at is not None:
        raise Conflict(
            f"of run {run.id} only summaries are kept since {run.thinned_at:%Y-%m-%d}, and a rule judges every row; "
            "try a younger run, or tag runs `keep` before they are as old as GYROSTAT_KEEP_RAW_DAYS says"
        )
    overrides = {request.rule: RuleOverride(settings=request.settings)}
    _check(overrides)
    rule = next(rule for rule in alert_rules.effective(overrides) if rule.kind == request.rule)
    if not rule.detector.metrics:
        raise Invalid(f"rule {request.rule!r} is raised from outside the measurements; there is nothing to replay")
    replay = _Replay(_stored_frames(session, run.id, rule.detector.metrics))
    context = _context(session, run.id, rule.detector.metrics, run.spec)
    changes = Engine([rule], context, None).observe(replay)
    return Backtest(
        run=run.id,
        rule=rule.kind,
        settings=rule.detector.model_dump(),
        frames=replay.num_frames,
        truncated=replay.truncated,
        items=[_told(change) for change in changes],
    )


class _Replay:
    """The first `MAX_FRAMES` of some frames, counted as they pass."""

    def __init__(self, frames: Iterator[FrameView]) -> None:
        self._frames = frames
        self.num_frames = 0
        self.truncated = False

    def __iter__(self) -> Iterator[FrameView]:
        for frame in self._frames:
            if self.num_frames == MAX_FRAMES:
                self.truncated = True
                return
            self.num_frames += 1
            yield frame


def _check(overrides: Mapping[str, RuleOverride]) -> None:
    if problems := alert_rules.problems(overrides):
        count = len(problems)
        raise Invalid(f"the rules have {count} problem{'s' if count > 1 else ''}", problems=problems)


def _view(rule: alert_rules.Rule, changed: bool) -> RuleView:
    return RuleView(
        kind=rule.kind,
        title=rule.detector.title,
        enabled=rule.enabled,
        severity=rule.severity or rule.detector.severity,
        settings=rule.detector.model_dump(),
        changed=changed,
    )


def _stored_frames(session: Session, run_id: str, wanted: Iterable[str]) -> Iterator[FrameView]:
    """The stored rows of some metrics, put together again by step."""
    having = {entry.name for entry in metrics.catalogue(session, run_id)}
    rows = [_rows(session, run_id, metric) for metric in wanted if metric in having]
    for step, group in itertools.groupby(heapq.merge(*rows, key=itemgetter(0)), key=itemgetter(0)):
        yield FrameView(step=step, values={metric: values for _, metric, values in group})


def _rows(session: Session, run_id: str, metric: str) -> Iterator[tuple[int, str, Float32Array]]:
    for chunk in metrics.finest_chunks(session, run_id, metric):
        for step, values in zip(chunk.steps.tolist(), chunk.values, strict=True):
            yield step, metric, values


def _context(session: Session, run_id: str, wanted: Iterable[str], spec: Mapping[str, Any] | None) -> RunContext:
    """Axes of the stored columns. Each metric gets an axis of its own: layouts may have changed under some only."""
    axes: dict[str, tuple[str, ...]] = {}
    having = {entry.name: entry for entry in metrics.catalogue(session, run_id)}
    for metric in wanted:
        if metric in having and having[metric].axis != "run":
            first = next(iter(metrics.finest_chunks(session, run_id, metric)), None)
            axes[metric] = () if first is None else first.names
    if having:
        layout = metrics.layout(session, run_id)[1]
        axes["matrix"] = tuple(layout.axes.get("matrix", ()))
    return RunContext(axes=axes, axis_of={metric: metric for metric in axes}, spec=spec)


def _told(change: AlertChange) -> BacktestChange:
    return BacktestChange(
        change=change.change,
        step=change.step,
        onset_step=change.onset_step,
        severity=change.severity,
        names=list(change.names),
        summary=change.summary,
        evidence=[EvidenceView.model_validate(item) for item in change.evidence],
    )
