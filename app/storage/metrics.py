"""What readers ask of a run's metrics before, or instead of, their blocks: what there is, and the newest rows."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Select, bindparam, func, select
from sqlalchemy.orm import Session

from app.storage.tables import Attempt, Metric, Run


class Newest(NamedTuple):
    """A metric and its newest row, as stored."""

    name: str
    unit: str
    axis: str
    step: int
    attempt: int
    layout: int
    values: bytes


def newest(session: Session, run_id: str) -> list[Newest]:
    """The newest rows of a run, by name of their metrics."""
    found = session.connection().execute(_NEWEST, {"run": run_id})
    return [Newest(*row) for row in found]


_NEWEST: Select[*tuple[Any, ...]] = (
    select(
        Metric.name,
        Metric.unit,
        Metric.axis,
        Metric.last_step,
        Metric.latest_attempt,
        Metric.latest_layout,
        Metric.latest,
    )
    .where(Metric.run_id == bindparam("run"), Metric.latest.is_not(None))
    .order_by(Metric.name)
)


def described(session: Session, run_id: str) -> Sequence[Any]:
    """The run's metrics by name without their newest rows, which may be long: of those, the `size` in bytes."""
    return session.connection().execute(_DESCRIBED, {"run": run_id}).all()


_DESCRIBED = (
    select(
        Metric.name,
        Metric.unit,
        Metric.axis,
        Metric.description,
        Metric.count,
        Metric.first_step,
        Metric.last_step,
        # of PostgreSQL and of SQLite, bytes
        func.length(Metric.latest).label("size"),
    )
    .where(Metric.run_id == bindparam("run"))
    .order_by(Metric.name)
)


def metric(session: Session, run_id: str, name: str) -> Metric | None:
    """One metric of a run."""
    return session.scalars(select(Metric).where(Metric.run_id == run_id, Metric.name == name)).one_or_none()


class Readable(NamedTuple):
    """A metric without its newest row, and number and first step of each attempt of its run, oldest first.

    `thinned`: whether full blocks of its rows as measured are given up.
    """

    id: int
    name: str
    unit: str
    axis: str
    description: str
    thinned: bool
    starts: list[tuple[int, int]]


def readable(session: Session, run_id: str, name: str) -> Readable | None:
    """What one needs to know of a metric to read its rows."""
    rows = session.connection().execute(_READABLE, {"run": run_id, "name": name}).all()
    return Readable(*rows[0][:6], starts=[(number, start) for *_, number, start in rows]) if rows else None


_READABLE = (
    select(
        Metric.id,
        Metric.name,
        Metric.unit,
        Metric.axis,
        Metric.description,
        Run.thinned_at.is_not(None),
        Attempt.number,
        Attempt.start_step,
    )
    .join(Run, Run.id == Metric.run_id)
    .join(Attempt, Attempt.run_id == Metric.run_id)
    .where(Metric.run_id == bindparam("run"), Metric.name == bindparam("name"))
    .order_by(Attempt.number)
)
