"""Rows of the pictures that generative models make."""

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session, defer

from app.storage.tables import Sample


def put(session: Session, sample: Sample) -> None:
    """Keeps the picture; one of the same step gives way, but for one of a later attempt."""
    before = session.get(Sample, (sample.run_id, sample.step))
    if before is None or before.attempt <= sample.attempt:
        session.merge(sample)
        session.flush()


def get(session: Session, run_id: str, step: int) -> Sample | None:
    """The run's picture of that step."""
    return session.get(Sample, (run_id, step))


def listed(session: Session, run_id: str) -> Sequence[Sample]:
    """What is known of the run's pictures, newest step first; the pictures themselves are not read."""
    query = select(Sample).where(Sample.run_id == run_id).order_by(Sample.step.desc()).options(defer(Sample.png))
    return session.scalars(query).all()


def steps(session: Session, run_id: str) -> list[int]:
    """Steps that the run has pictures of, rising."""
    return list(session.scalars(select(Sample.step).where(Sample.run_id == run_id).order_by(Sample.step)))


def remove(session: Session, run_id: str, step: int) -> None:
    """Forgets the run's picture of that step."""
    session.execute(delete(Sample).where(Sample.run_id == run_id, Sample.step == step))
