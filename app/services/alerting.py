"""Alerts of runs: what the detectors' changes become in the database, and what people do with them."""

import dataclasses
import json
import logging
import secrets
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from app.alerts import rules as alert_rules
from app.alerts.engine import Engine, forgetting
from app.alerts.model import AlertChange, Evidence, FrameView, RuleFailure, RunContext
from app.errors import Conflict, NotFound
from app.services.alert_view import AlertDetail, AlertView, detail, spelled, view
from app.services.cursors import cursor_of, place_of
from app.services.notify import outbox
from app.services.run_view import Page
from app.storage import alerts as alert_repository
from app.storage import events as event_repository
from app.storage import frames as frame_repository
from app.storage import runs as run_repository
from app.storage.alerts import Filter
from app.storage.database import Session
from app.storage.tables import Alert, Run
from gyrostat.spec.checks import Problem
from gyrostat.spec.run import RuleOverride, RunSpec
from gyrostat.wire.frame import Batch
from gyrostat.wire.layout import Layout
from gyrostat.wire.values import Float32Array

__all__ = ["AlertDetail", "AlertView"]

MAX_PAGE = 200
MAX_ERROR = 500

_log = logging.getLogger(__name__)


def evaluate(session: Session, run: Run, batch: Batch, layout: Layout, now: datetime) -> bool:
    """Judges a batch's frames and stores what changes: detector state, alerts, their changes, events.

    Called in the transaction that stores the frames, with the run's row held. Frames of an older attempt are passed
    over.

    Returns:
        Whether the probes shall measure more often for a while.
    """
    if batch.attempt < run.attempt:
        return False
    state = frame_repository.detector_state(session, run.id)
    engine = Engine(effective_rules(session, run.spec), _context(run.spec, layout), state)
    # An attached program may restart within its one attempt, so there a step that goes back means just that.
    attempt = batch.attempt if run.spec is not None else 0
    for change in engine.observe(frames_of(batch), attempt):
        apply(session, run, change, now)
    frame_repository.put_detector_state(session, run.id, engine.dump())
    for failure in engine.failures:
        if failure.times == 1:
            _tell_failure(session, run, failure, now)
    return engine.tighten


def _tell_failure(session: Session, run: Run, failure: RuleFailure, now: datetime) -> None:
    """Says once for each cause that a rule cannot judge the run: it may be sick and nobody is told of it."""
    _log.error(
        "rule %s failed on run %s at step %d and started afresh\n%s",
        failure.rule, run.id, failure.step, failure.traceback,
    )  # fmt: skip
    data = {"rule": failure.rule, "error": failure.error[:MAX_ERROR]}
    event_repository.append(session, run.id, "rule_failed", data, step=failure.step, now=now)


def frames_of(batch: Batch) -> Iterator[FrameView]:
    """The batch's frames in the order of their steps, as detectors see them."""
    found: list[dict[str, Float32Array]] = [{} for _ in range(len(batch.steps))]
    for column in batch.columns:
        for place, row in enumerate(column.rows.tolist()):
            found[row][column.metric] = column.values[place]
    for step, values in zip(batch.steps.tolist(), found, strict=True):
        yield FrameView(step=step, values=values)


def effective_rules(session: Session, spec: Mapping[str, Any] | None) -> list[alert_rules.Rule]:
    """The detectors' defaults, changed by the operator, changed by the run."""
    layers = (alert_repository.rules(session), (spec or {}).get("rules") or {})
    return list(_effective(*(json.dumps(layer, sort_keys=True) for layer in layers)))


@lru_cache(maxsize=256)
def _effective(*layers: str) -> tuple[alert_rules.Rule, ...]:
    # a run's rules are looked up for every batch, and hardly ever change
    return tuple(alert_rules.effective(*(_overrides(json.loads(layer)) for layer in layers)))


def check_overrides(spec: RunSpec) -> list[Problem]:
    """Everything wrong with the spec's changes to alert rules: unknown kinds and thresholds, values out of range."""
    return alert_rules.problems(spec.rules)


def apply(session: Session, run: Run, change: AlertChange, now: datetime) -> None:
    """Stores one step in the life of the rule's alert on the run, and tells live pages and channels."""
    alert = alert_repository.standing(session, run.id, change.rule)
    before = None if alert is None else alert.severity
    if alert is None:
        if change.change != "opened":
            return  # somebody has resolved it meanwhile
        alert = _opened(run, change, now)
        alert_repository.add(session, alert)
    elif change.change == "resolved":
        alert.state, alert.resolved_at, alert.resolved_step = "resolved", now, change.step
    else:
        alert.severity, alert.summary = change.severity, change.summary
        alert.names, alert.evidence = list(change.names), [_evidence(item) for item in change.evidence]
        # the remedies keep their numbers: somebody may be about to apply one
        alert.remedies = alert.remedies or [dataclasses.asdict(remedy) for remedy in change.remedies]
    alert.last_step, alert.updated_at = change.step, now
    _tell(session, run, alert, change.change, change.summary or "It has been quiet for long enough.", now)
    outbox.announce(session, run, alert, change.change, now, before=before)


def raise_external(session: Session, run: Run, kind: str, summary: str, step: int | None, now: datetime) -> None:
    """Opens an alert that is not judged from frames, as `worker_lost`; while one stands, nothing happens."""
    rule = next(rule for rule in effective_rules(session, run.spec) if rule.kind == kind)
    if not rule.enabled or alert_repository.standing(session, run.id, kind) is not None:
        return
    severity = rule.severity or rule.detector.severity
    at = run.step if step is None else step
    change = AlertChange(
        change="opened", rule=kind, kind=kind, severity=severity, step=at, onset_step=at, summary=summary
    )
    apply(session, run, change, now)


def resolve_external(session: Session, run: Run, kind: str, note: str, now: datetime) -> None:
    """Resolves the run's standing alert of a kind that is not judged from frames; without one, nothing happens."""
    alert = alert_repository.standing(session, run.id, kind)
    if alert is not None:
        _resolve(session, run, alert, note, now)


def list_alerts(
    session: Session,
    *,
    run: str | None = None,
    state: str | Collection[str] | None = None,
    severity: str | Collection[str] | None = None,
    kind: str | Collection[str] | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[AlertView]:
    """Alerts that match everything given, newest first; ones opened meanwhile neither repeat nor hide others.

    Raises:
        Invalid: the cursor is none.
    """
    wanted = Filter(run=run, states=_several(state), severities=_several(severity), kinds=_several(kind))
    limit = max(1, min(limit, MAX_PAGE))
    after = None if cursor is None else _place(cursor)
    rows = alert_repository.page(session, wanted, after=after, limit=limit + 1)
    following = _cursor(rows[limit - 1]) if len(rows) > limit else None
    return Page[AlertView](items=[view(row) for row in rows[:limit]], next=following)


def num_open(session: Session) -> int:
    """Open alerts that are not muted, of all runs."""
    return alert_repository.num_open(session)


def get(session: Session, alert_id: str) -> AlertDetail:
    """One alert with its history.

    Raises:
        NotFound: there is none.
    """
    alert = found(session, alert_id)
    return detail(alert, list(alert_repository.changes(session, alert_id)))


def found(session: Session, alert_id: str) -> Alert:
    """The alert's row.

    Raises:
        NotFound: there is none.
    """
    alert = alert_repository.get(session, alert_id)
    if alert is None:
        raise NotFound(f"there is no alert {alert_id!r}; GET /v1/alerts lists those there are")
    return alert


def acknowledge(session: Session, alert_id: str, note: str, now: datetime) -> AlertDetail:
    """Somebody has seen it. Acknowledging twice changes nothing.

    Raises:
        NotFound: there is none. Conflict: it is resolved.
    """
    run, alert = _held(session, alert_id)
    if alert.state == "resolved":
        raise Conflict(f"alert {alert_id} is resolved already and cannot be acknowledged")
    if alert.state == "open":
        alert.state, alert.acknowledged_at, alert.updated_at = "acknowledged", now, now
        _tell(session, run, alert, "acknowledged", note, now)
        run.revision += 1
    return get(session, alert_id)


def resolve(session: Session, alert_id: str, note: str, now: datetime) -> AlertDetail:
    """Somebody closes it; the rule opens another if it finds the same again. Resolving twice changes nothing.

    Raises:
        NotFound: there is none.
    """
    run, alert = _held(session, alert_id)
    if alert.state != "resolved":
        _resolve(session, run, alert, note or "Resolved by request.", now)
        state = frame_repository.detector_state(session, run.id)
        if state is not None:
            frame_repository.put_detector_state(session, run.id, forgetting(state, alert.rule))
        run.revision += 1
    return get(session, alert_id)


def mute(session: Session, alert_id: str, note: str, now: datetime, *, muted: bool = True) -> AlertDetail:
    """Keeps the alert but counts and announces it no more, or again. Doing it twice changes nothing.

    Raises:
        NotFound: there is none.
    """
    run, alert = _held(session, alert_id)
    if alert.muted != muted:
        alert.muted, alert.updated_at = muted, now
        _tell(session, run, alert, "muted" if muted else "unmuted", note, now)
        run.revision += 1
    return get(session, alert_id)


def _held(session: Session, alert_id: str) -> tuple[Run, Alert]:
    """The alert as it is committed now; its run is held, as it is by the frames that may change the alert."""
    alert = found(session, alert_id)
    run = run_repository.locked(session, alert.run_id)
    if run is None:
        raise NotFound(f"there is no alert {alert_id!r}; its run was deleted")
    session.refresh(alert)
    return run, alert


def _resolve(session: Session, run: Run, alert: Alert, note: str, now: datetime) -> None:
    alert.state, alert.resolved_at, alert.updated_at, alert.resolved_step = "resolved", now, now, run.step
    _tell(session, run, alert, "resolved", note, now)
    outbox.announce(session, run, alert, "resolved", now, before=alert.severity)


def _tell(session: Session, run: Run, alert: Alert, change: str, note: str, now: datetime) -> None:
    step = alert.last_step if change in ("opened", "updated", "resolved") else run.step
    alert_repository.add_change(session, alert, change, note, step=step, now=now)
    data = {
        "alert": alert.id,
        "change": change,
        "rule": alert.rule,
        "kind": alert.kind,
        "severity": alert.severity,
        "state": alert.state,
        "muted": alert.muted,
        "summary": alert.summary,
        "names": alert.names[:8],
        "onset_step": alert.onset_step,
    }
    event_repository.append(session, run.id, "alert", data, step=step, now=now)


def _opened(run: Run, change: AlertChange, now: datetime) -> Alert:
    return Alert(
        id=secrets.token_hex(8),
        run_id=run.id,
        rule=change.rule,
        kind=change.kind,
        severity=change.severity,
        state="open",
        muted=False,
        names=list(change.names),
        onset_step=change.onset_step,
        opened_step=change.step,
        last_step=change.step,
        resolved_step=None,
        summary=change.summary,
        evidence=[_evidence(item) for item in change.evidence],
        remedies=[dataclasses.asdict(remedy) for remedy in change.remedies],
        opened_at=now,
        updated_at=now,
        acknowledged_at=None,
        resolved_at=None,
    )


def _evidence(item: Evidence) -> dict[str, Any]:
    # neither database keeps NaN in JSON
    stored = dataclasses.asdict(item)
    stored["value"] = spelled(item.value)
    stored["threshold"] = None if item.threshold is None else spelled(item.threshold)
    return stored


def _context(spec: Mapping[str, Any] | None, layout: Layout) -> RunContext:
    return RunContext(
        axes={axis: tuple(names) for axis, names in layout.axes.items()},
        axis_of={metric.name: metric.axis for metric in layout.metrics},
        spec=spec,
    )


def _overrides(stored: Mapping[str, Any]) -> dict[str, RuleOverride]:
    return {kind: RuleOverride.model_validate(override) for kind, override in stored.items()}


def _several(given: str | Collection[str] | None) -> Collection[str]:
    return () if given is None else (given,) if isinstance(given, str) else given


def _cursor(alert: Alert) -> str:
    return cursor_of([alert.opened_at.isoformat(), alert.id])


def _place(cursor: str) -> tuple[datetime, str]:
    def checked(place: Any) -> tuple[datetime, str]:
        text, alert_id = place
        at = datetime.fromisoformat(text)
        if at.tzinfo is None or not isinstance(alert_id, str):
            raise ValueError("it belongs to another list")
        return at, alert_id

    return place_of(cursor, checked)
