"""Alerts as cards: what templates/parts/alert.html names, and marks on the charts."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from app.dashboard.looks import SEVERITIES
from app.dashboard.panels.registry import Mark
from app.services import alerting, lifecycle
from app.services import runs as run_service
from app.services.alerting import AlertView
from app.services.run_view import RunView
from app.storage.database import Session

MAX_CARDS = 50


class AlertCard(NamedTuple):
    """An alert with what is offered for it. `can_fork`, `can_control`: whether its remedies can be applied now."""

    id: str
    run: str
    run_name: str
    kind: str
    title: str
    severity: str
    state: str
    muted: bool
    names: Sequence[str]
    onset_step: int | None
    opened_at: datetime
    resolved_at: datetime | None
    summary: str
    evidence: Sequence[Any]
    remedies: Sequence[Any]
    can_fork: bool
    can_control: bool


def card(alert: AlertView, run: RunView) -> AlertCard:
    """The alert of `run`."""
    return AlertCard(
        id=alert.id,
        run=run.id,
        run_name=run.name,
        kind=alert.kind,
        title=alert.title,
        severity=alert.severity,
        state=alert.state,
        muted=alert.muted,
        names=alert.names,
        onset_step=alert.onset_step,
        opened_at=alert.opened_at,
        resolved_at=alert.resolved_at,
        summary=alert.summary,
        evidence=alert.evidence,
        remedies=alert.remedies,
        can_fork=run.spec is not None,
        can_control=run.state in lifecycle.LIVE,
    )


def cards_of_run(session: Session, run: RunView) -> list[AlertCard]:
    """The run's alerts: what needs somebody first, then the worst, then what began first."""
    found = alerting.list_alerts(session, run=run.id, limit=MAX_CARDS).items
    ordered = sorted(found, key=lambda a: (_urgency(a), SEVERITIES.index(a.severity), a.onset_step or 0))
    return [card(alert, run) for alert in ordered]


def cards_of_all(session: Session, alerts: Sequence[AlertView]) -> list[AlertCard]:
    """Alerts of several runs, in the order given."""
    runs = {run_id: run_service.get(session, run_id) for run_id in {alert.run for alert in alerts}}
    return [card(alert, runs[alert.run]) for alert in alerts]


def marks(session: Session, run_id: str) -> tuple[Mark, ...]:
    """Where on the time axis the run's alerts began."""
    found = alerting.list_alerts(session, run=run_id, limit=MAX_CARDS).items
    return tuple(
        Mark(alert.onset_step, alert.severity, f"{alert.title} ({alert.state}): {alert.summary}")
        for alert in found
        if alert.onset_step is not None
    )


def _urgency(alert: AlertView) -> int:
    if alert.state == "open":
        return 1 if alert.muted else 0
    return 2 if alert.state == "acknowledged" else 3
