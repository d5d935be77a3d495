"""Applies a remedy of an alert: to a fork of the run, or to the running training."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from app.errors import Conflict, NotFound
from app.services import alerting
from app.services import runs as run_service
from app.services.alert_view import RemedyView
from app.services.run_view import View
from app.storage import alerts as alert_repository
from app.storage import events as event_repository
from app.storage import runs as run_repository
from app.storage.database import Session
from app.storage.tables import Alert

Mode = Literal["fork", "live"]


class Applied(View):
    """A remedy that was applied."""

    alert: str
    """Id of the alert it shall cure."""
    remedy: int
    """Its place among the alert's remedies."""
    mode: Mode
    """To a new run, or to the running one."""
    run: str
    """Id of the fork, or of the run that was changed."""
    from_step: int | None
    """The checkpoint that the fork begins at; null from scratch, and for live changes."""


def list_remedies(session: Session, alert_id: str) -> list[RemedyView]:
    """The alert's remedies, best first.

    Raises:
        NotFound: there is no such alert.
    """
    return alerting.get(session, alert_id).remedies


def apply(session: Session, alert_id: str, number: int, mode: Mode, now: datetime) -> Applied:
    """Applies remedy `number`, counted from 0. What comes of a fork is judged when it has ended.

    A fork begins at the last checkpoint before the alert's onset where the remedy leaves the network, its start and the
    schedule as they are, and from scratch otherwise.

    Raises:
        NotFound: there is no such alert or remedy.
        Conflict: the remedy cannot be applied to a running training, or the run is not running.
        Invalid: the changed spec cannot be trained any more.
    """
    alert = alerting.found(session, alert_id)
    remedies = alerting.get(session, alert_id).remedies
    if not 0 <= number < len(remedies):
        raise NotFound(
            f"alert {alert_id} has {len(remedies)} remedies, numbered from 0; there is no remedy {number}. "
            f"GET /v1/alerts/{alert_id}/remedies lists them"
        )
    remedy = remedies[number]
    if mode == "live":
        applied = _live(session, alert, remedy, number, now)
    else:
        applied = _fork(session, alert, remedy, number, now)
    _record(session, alert, remedy, applied, now)
    return applied


def _live(session: Session, alert: Alert, remedy: RemedyView, number: int, now: datetime) -> Applied:
    if remedy.control is None:
        raise Conflict(f"{remedy.title!r} changes what a running training cannot change; apply it to a fork instead")
    run_service.control(session, alert.run_id, remedy.control, now)
    return Applied(alert=alert.id, remedy=number, mode="live", run=alert.run_id, from_step=None)


def _fork(session: Session, alert: Alert, remedy: RemedyView, number: int, now: datetime) -> Applied:
    step = _healthy_checkpoint(session, alert) if _fits_checkpoint(remedy.patch) else None
    fork = run_service.fork(session, alert.run_id, from_step=step, patch=remedy.patch, name=None, now=now)
    return Applied(alert=alert.id, remedy=number, mode="fork", run=fork.id, from_step=step)


def _healthy_checkpoint(session: Session, alert: Alert) -> int | None:
    """Step of the last checkpoint that is kept and was written before it began."""
    if alert.onset_step is None:
        return None
    kept = run_repository.checkpoints(session, alert.run_id)
    return max((checkpoint.step for checkpoint in kept if checkpoint.step < alert.onset_step), default=None)


def _fits_checkpoint(patch: Mapping[str, Any]) -> bool:
    """Whether training on from a checkpoint shows what the patch does.

    Another network or optimizer has no use for the old state, a start would be skipped, and a warmup would be over.
    """
    optimizer = patch.get("optimizer", {})
    parts = (optimizer, optimizer.get("base", {}))
    return set(patch) <= {"gradients", "optimizer"} and not any("kind" in part for part in parts)


def _record(session: Session, alert: Alert, remedy: RemedyView, applied: Applied, now: datetime) -> None:
    if applied.mode == "live":
        where = "to the running training"
    else:
        where = "to a fork " + ("from scratch" if applied.from_step is None else f"from step {applied.from_step}")
    data = {"text": f"{remedy.title}, {where}.", **applied.model_dump(include={"remedy", "mode", "run", "from_step"})}
    alert_repository.add_change(session, alert, "remedy_applied", json.dumps(data), step=None, now=now)
    told = {"alert": alert.id, "change": "remedy_applied", "kind": alert.kind, "severity": alert.severity, **data}
    event_repository.append(session, alert.run_id, "alert", told, step=None, now=now)
