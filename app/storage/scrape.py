"""What a monitoring system asks for: few queries, bounded in number of runs."""

from dataclasses import dataclass

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.storage.channel_tables import Delivery
from app.storage.runs import open_alerts
from app.storage.tables import LIVE_STATES, Alert, Block, Metric, Run

_SIZE = {
    "sqlite": "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
    "postgresql": "SELECT pg_database_size(current_database())",
}


@dataclass(frozen=True, kw_only=True)
class ActiveRun:
    """A run that is being trained. `latest`: (metric, newest row as float32 little-endian) of its scalars."""

    id: str
    name: str
    step: int
    latest: list[tuple[str, bytes]]
    alerts: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What the database holds. `alerts`: (state, severity) -> number, muted ones left out."""

    alerts: dict[tuple[str, str], int]
    unmerged_blocks: int
    notifications_waiting: int
    database_bytes: int


def totals(session: Session) -> Totals:
    """How much there is of what may grow or wait."""
    alerts = session.execute(
        select(Alert.state, Alert.severity, func.count())
        .where(Alert.muted.is_(False))
        .group_by(Alert.state, Alert.severity)
    )
    return Totals(
        alerts={(state, severity): count for state, severity, count in alerts},
        unmerged_blocks=session.scalar(select(func.count()).where(Block.sealed.is_(False))) or 0,
        notifications_waiting=session.scalar(select(func.count()).where(Delivery.state == "waiting")) or 0,
        database_bytes=session.scalar(text(_SIZE[session.get_bind().dialect.name])) or 0,
    )


def num_by_state(session: Session) -> dict[str, int]:
    """State -> number of runs."""
    return dict(session.execute(select(Run.state, func.count()).group_by(Run.state)).all())


def active_runs(session: Session, limit: int) -> list[ActiveRun]:
    """The runs that were active most recently, with their newest scalars and open alerts."""
    rows = session.execute(
        select(Run.id, Run.name, Run.step)
        .where(Run.state.in_(LIVE_STATES))
        .order_by(Run.updated_at.desc(), Run.id)
        .limit(limit)
    ).all()
    ids = [row.id for row in rows]
    latest: dict[str, list[tuple[str, bytes]]] = {}
    scalars = (
        select(Metric.run_id, Metric.name, Metric.latest)
        .where(Metric.run_id.in_(ids), Metric.axis == "run", Metric.latest.is_not(None))
        .order_by(Metric.run_id, Metric.name)
    )
    for run_id, name, row in session.execute(scalars):
        if run_id is not None and row is not None:
            latest.setdefault(run_id, []).append((name, row))
    alerts = open_alerts(session, ids)
    return [
        ActiveRun(id=row.id, name=row.name, step=row.step, latest=latest.get(row.id, []), alerts=alerts.get(row.id, {}))
        for row in rows
    ]
