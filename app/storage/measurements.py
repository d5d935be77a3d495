"""Rows of what was measured on demand."""

from collections.abc import Sequence

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, defer

from app.storage.tables import Measurement


def get(session: Session, run_id: str, measurement_id: str) -> Measurement | None:
    """The run's measurement of that id."""
    return session.get(Measurement, (run_id, measurement_id))


def listed(session: Session, run_id: str) -> Sequence[Measurement]:
    """The run's measurements, those asked for last first; what was measured is not read."""
    query = select(Measurement).where(Measurement.run_id == run_id)
    newest_first = query.order_by(Measurement.asked_at.desc(), Measurement.id.desc())
    return session.scalars(newest_first.options(defer(Measurement.result))).all()


def waiting(session: Session, run_id: str) -> Sequence[Measurement]:
    """Those that nothing was heard of yet."""
    query = select(Measurement).where(Measurement.run_id == run_id, Measurement.state == "waiting")
    return session.scalars(query).all()


def drop_oldest(session: Session, run_id: str, keep: int) -> None:
    """Forgets all but the `keep` that were asked for last; those that are waited for stay."""
    session.flush()
    of_run = Measurement.run_id == run_id
    count = session.scalar(select(func.count()).where(of_run)) or 0
    if count > keep:
        oldest = select(Measurement.id).where(of_run, Measurement.state != "waiting")
        ids = session.scalars(oldest.order_by(Measurement.asked_at, Measurement.id).limit(count - keep)).all()
        session.execute(delete(Measurement).where(of_run, Measurement.id.in_(ids)))
