"""Whether a remedy helped: when the fork that it made has ended, its run against the one it was to cure."""

import json
from datetime import datetime
from typing import Any

import numpy as np

from app.storage import alerts as alert_repository
from app.storage import events as event_repository
from app.storage import metrics as metric_repository
from app.storage import runs as run_repository
from app.storage.alerts import Filter
from app.storage.database import Session
from app.storage.tables import Alert, Run

COMPARED = ("loss.validation", "loss.train")
"""Metrics that tell how well a run has ended, the better one first."""


def judge(session: Session, fork: Run, now: datetime) -> None:
    """Writes down, on the alert whose remedy made `fork`, what came of it. Called when the fork has ended.

    The alert is cured if the fork never raised its kind. The fork ended better if its newest validation loss (training
    loss, where the parent has no other) is finite and lower, or the parent's is not finite.
    """
    parent = None if fork.parent is None else run_repository.get(session, fork.parent)
    if parent is None:
        return
    for alert, change in alert_repository.applied_remedies(session, parent.id):
        applied = json.loads(change.note)
        if applied.get("run") != fork.id or _is_judged(session, alert, fork.id):
            continue
        verdict = _verdict(session, parent, fork, alert)
        note = json.dumps({"text": _sentence(fork, alert, verdict), "remedy": applied["remedy"], **verdict})
        alert_repository.add_change(session, alert, "remedy_judged", note, step=fork.step, now=now)
        told = {"alert": alert.id, "change": "remedy_judged", "kind": alert.kind, "severity": alert.severity, **verdict}
        event_repository.append(session, parent.id, "alert", told, step=parent.step, now=now)
        parent.revision += 1


def _is_judged(session: Session, alert: Alert, fork_id: str) -> bool:
    judged = [change for change in alert_repository.changes(session, alert.id) if change.kind == "remedy_judged"]
    return any(json.loads(change.note).get("run") == fork_id for change in judged)


def _verdict(session: Session, parent: Run, fork: Run, alert: Alert) -> dict[str, Any]:
    again = alert_repository.page(session, Filter(run=fork.id, kinds=(alert.kind,)), after=None, limit=1)
    metric, before, after = _ends(session, parent.id, fork.id)
    return {
        "run": fork.id,
        "state": fork.state,
        "alert_gone": not again,
        "metric": metric,
        "before": before,
        "after": after,
        "better": None if metric is None else after is not None and (before is None or after < before),
    }


def _ends(session: Session, parent: str, fork: str) -> tuple[str | None, float | None, float | None]:
    """The metric that both have, and its newest value on each; None where that is not finite."""
    for name in COMPARED:
        rows = [metric_repository.metric(session, run, name) for run in (parent, fork)]
        values = [np.frombuffer(row.latest, dtype="<f4") for row in rows if row is not None and row.latest]
        if len(values) == 2 and all(len(value) == 1 for value in values):
            before, after = (float(value[0]) if np.isfinite(value[0]) else None for value in values)
            return name, before, after
    return None, None, None


def _sentence(fork: Run, alert: Alert, verdict: dict[str, Any]) -> str:
    alerted = f"{alert.kind} did not come back" if verdict["alert_gone"] else f"{alert.kind} was raised again"
    if verdict["metric"] is None:
        return f"{alerted} in {fork.name}, which is {fork.state}; it cannot be compared, as nothing was measured of it."
    before, after = (
        f"{value:.4g}" if value is not None else "not a finite number"
        for value in (verdict["before"], verdict["after"])
    )
    better = "better" if verdict["better"] else "not better"
    return (
        f"{alerted} in {fork.name}, which is {fork.state} with {verdict['metric']} {after}, against {before}: {better}."
    )
