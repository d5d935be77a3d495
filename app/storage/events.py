"""Rows of what happened, and what live pages watch."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.storage.tables import LIVE_STATES, Event, Run

MAX_MARKS = 1000


def append(session: Session, run_id: str, kind: str, data: dict[str, Any], *, step: int | None, now: datetime) -> Event:
    """Adds an event; its id is known after the flush."""
    event = Event(run_id=run_id, kind=kind, step=step, data=data, at=now)
    session.add(event)
    return event


def newest_id(session: Session, *, settled_before: datetime | None = None) -> int:
    """Id of the newest event; with `settled_before`, of the newest one that is older."""
    if settled_before is None:
        return session.scalar(select(func.max(Event.id))) or 0
    for number, at in session.execute(select(Event.id, Event.at).order_by(Event.id.desc()).limit(500)):
        if at < settled_before:
            return int(number)
    return 0


def after(
    session: Session, last: int, *, run_id: str | None = None, until: int | None = None, limit: int = 500
) -> Sequence[Event]:
    """Events with ids above `last`, of one run or of all, oldest first."""
    query = select(Event).where(Event.id > last).order_by(Event.id).limit(limit)
    if run_id is not None:
        query = query.where(Event.run_id == run_id)
    if until is not None:
        query = query.where(Event.id <= until)
    return session.scalars(query).all()


def marks(session: Session, watched: Collection[str], *, active: bool) -> dict[str, tuple[int, int]]:
    """Run id -> (revision, step), of the runs watched and, with `active`, of the runs being trained."""
    columns = select(Run.id, Run.revision, Run.step)
    rows = list(session.execute(columns.where(Run.id.in_(sorted(watched)[:MAX_MARKS])))) if watched else []
    if active:
        recent = columns.where(Run.state.in_(LIVE_STATES)).order_by(Run.updated_at.desc()).limit(MAX_MARKS)
        rows += session.execute(recent)
    return {run_id: (revision, step) for run_id, revision, step in rows}
