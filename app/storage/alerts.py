"""Rows of alerts, of their changes, and of the operator's rules."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from app.storage.tables import Alert, AlertChange, Rule


@dataclass(frozen=True, kw_only=True)
class Filter:
    """What a list of alerts shall hold; None and empty do not restrict it."""

    run: str | None = None
    states: Collection[str] = ()
    severities: Collection[str] = ()
    kinds: Collection[str] = ()


def get(session: Session, alert_id: str) -> Alert | None:
    """One alert."""
    return session.get(Alert, alert_id)


def standing(session: Session, run_id: str, rule: str) -> Alert | None:
    """The rule's alert on the run that is not resolved; there is one at most."""
    query = (
        select(Alert)
        .where(Alert.run_id == run_id, Alert.rule == rule, Alert.state != "resolved")
        .order_by(Alert.opened_at.desc())
        .limit(1)
    )
    return session.scalars(query).first()


def page(session: Session, wanted: Filter, *, after: tuple[datetime, str] | None, limit: int) -> Sequence[Alert]:
    """Alerts, newest first, behind the one whose (opened_at, id) is `after`."""
    query = select(Alert)
    if wanted.run is not None:
        query = query.where(Alert.run_id == wanted.run)
    for column, values in (
        (Alert.state, wanted.states),
        (Alert.severity, wanted.severities),
        (Alert.kind, wanted.kinds),
    ):
        if values:
            query = query.where(column.in_(sorted(values)))
    if after is not None:
        at, alert_id = after
        query = query.where(or_(Alert.opened_at < at, and_(Alert.opened_at == at, Alert.id < alert_id)))
    return session.scalars(query.order_by(Alert.opened_at.desc(), Alert.id.desc()).limit(limit)).all()


def num_open(session: Session) -> int:
    """Open alerts that are not muted, of all runs."""
    query = select(func.count()).where(Alert.state == "open", Alert.muted.is_(False))
    return session.scalar(query) or 0


def add(session: Session, alert: Alert) -> None:
    """Stores a new alert, so that its changes can refer to it."""
    session.add(alert)
    session.flush()


def add_change(session: Session, alert: Alert, kind: str, note: str, *, step: int | None, now: datetime) -> None:
    """Writes down what became of an alert."""
    session.add(AlertChange(alert_id=alert.id, kind=kind, note=note, step=step, at=now))


def changes(session: Session, alert_id: str) -> Sequence[AlertChange]:
    """Everything that became of an alert, oldest first."""
    return session.scalars(select(AlertChange).where(AlertChange.alert_id == alert_id).order_by(AlertChange.id)).all()


def applied_remedies(session: Session, run_id: str) -> Sequence[tuple[Alert, AlertChange]]:
    """Remedies that were applied to the run's alerts, oldest first."""
    query = (
        select(Alert, AlertChange)
        .join(AlertChange, AlertChange.alert_id == Alert.id)
        .where(Alert.run_id == run_id, AlertChange.kind == "remedy_applied")
        .order_by(AlertChange.id)
    )
    return [(alert, change) for alert, change in session.execute(query)]


_READ_RULES = select(Rule.__table__.c.kind, Rule.__table__.c.override)


def rules(session: Session) -> dict[str, dict[str, Any]]:
    """The operator's overrides by kind."""
    # not through the session, which would write a run's changes first: this is asked for with every batch
    found = session.connection().execute(_READ_RULES)
    return {row.kind: row.override for row in found}


def put_rules(session: Session, overrides: dict[str, dict[str, Any]], now: datetime) -> None:
    """Makes these the operator's overrides, all of them."""
    for row in session.scalars(select(Rule)):
        if row.kind not in overrides:
            session.delete(row)
    for kind, override in overrides.items():
        session.merge(Rule(kind=kind, override=override, updated_at=now))
    session.flush()
