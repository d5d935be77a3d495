"""Rows of workers, their leases, and the queue that they claim from."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import CursorResult, select, update
from sqlalchemy.orm import Session

from app.storage.tables import Attempt, Command, Run, Worker

CANDIDATES = 50


def get(session: Session, worker_id: str) -> Worker | None:
    """The worker with the id."""
    return session.get(Worker, worker_id)


def named(session: Session, name: str) -> Worker | None:
    """The worker with the name, held against other writers."""
    return session.scalar(select(Worker).where(Worker.name == name).with_for_update())


def all_workers(session: Session) -> Sequence[Worker]:
    """Every worker that ever registered, by name."""
    return session.scalars(select(Worker).order_by(Worker.name)).all()


def leased(session: Session, *, worker_id: str | None = None) -> Sequence[Attempt]:
    """Attempts that hold a lease, of one worker or of all, in a fixed order (so that locks are taken in one)."""
    query = select(Attempt).where(Attempt.lease_until.is_not(None)).order_by(Attempt.run_id, Attempt.number)
    if worker_id is not None:
        query = query.where(Attempt.worker_id == worker_id)
    return session.scalars(query).all()


def extend_leases(session: Session, until: datetime) -> int:
    """Gives every lease at least until then; returns how many it moved."""
    moved = session.execute(
        update(Attempt).where(Attempt.lease_until.is_not(None), Attempt.lease_until < until).values(lease_until=until)
    )
    assert isinstance(moved, CursorResult)
    return int(moved.rowcount)


def queued(session: Session, datasets: Collection[str]) -> Sequence[str]:
    """Ids of the oldest queued runs whose data the worker has."""
    kind = Run.spec["task"]["dataset"]["kind"].as_string()
    query = (
        select(Run.id)
        .where(Run.state == "queued", kind.in_(sorted(datasets)))
        .order_by(Run.created_at, Run.id)
        .limit(CANDIDATES)
    )
    return session.scalars(query).all()


def take(session: Session, run_id: str) -> bool:
    """Starts a queued run's next attempt; False where another worker was faster."""
    taken = session.execute(
        update(Run)
        .where(Run.id == run_id, Run.state == "queued")
        .values(state="starting", attempt=Run.attempt + 1)
        .execution_options(synchronize_session=False)
    )
    assert isinstance(taken, CursorResult)
    return int(taken.rowcount) == 1


def mark_done(session: Session, worker_id: str, numbers: Collection[int], now: datetime) -> None:
    """Notes commands as carried out, where they were for runs of this worker."""
    query = (
        select(Command)
        .join(Attempt, (Attempt.run_id == Command.run_id) & (Attempt.number == Command.attempt))
        .where(Command.id.in_(sorted(numbers)), Command.done_at.is_(None), Attempt.worker_id == worker_id)
    )
    for command in session.scalars(query):
        command.done_at = now
