"""Rows of runs, their transitions, attempts, checkpoints and commands."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, cast, delete, func, or_, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.storage.tables import Alert, Attempt, Checkpoint, Command, Run, Transition, Worker

ORDERS: dict[str, tuple[InstrumentedAttribute[Any], bool]] = {
    "-created_at": (Run.created_at, True),
    "created_at": (Run.created_at, False),
    "-updated_at": (Run.updated_at, True),
    "name": (Run.name, False),
    "-name": (Run.name, True),
}
"""Name of an order -> (column, newest or largest first)."""


@dataclass(frozen=True, kw_only=True)
class Filter:
    """What a list of runs shall hold; empty parts do not restrict it."""

    project: str | None = None
    states: Collection[str] = ()
    tags: Collection[str] = ()
    text: str | None = None
    parent: str | None = None


def get(session: Session, run_id: str) -> Run | None:
    """The run as the session sees it."""
    return session.get(Run, run_id)


def revision(session: Session, run_id: str) -> int | None:
    """The run's revision, without the rest of it; None where there is no such run."""
    found: int | None = session.connection().scalar(_REVISION, {"run": run_id})
    return found


_REVISION = select(Run.revision).where(Run.id == bindparam("run"))


def locked(session: Session, run_id: str) -> Run | None:
    """The run as it is committed now, held against other writers until the transaction ends."""
    session.flush()
    return session.get(Run, run_id, with_for_update=True, populate_existing=True)


def page(session: Session, wanted: Filter, *, order: str, after: tuple[Any, str] | None, limit: int) -> Sequence[Run]:
    """Runs in the order, behind the row whose (order's value, id) is `after`."""
    column, descending = ORDERS[order]
    query = _filtered(session, select(Run), wanted)
    if after is not None:
        value, run_id = after
        beyond = column < value if descending else column > value
        beyond_id = Run.id < run_id if descending else Run.id > run_id
        query = query.where(or_(beyond, and_(column == value, beyond_id)))
    keys = (column.desc(), Run.id.desc()) if descending else (column.asc(), Run.id.asc())
    return session.scalars(query.order_by(*keys).limit(limit)).all()


def _filtered(session: Session, query: Select[Run], wanted: Filter) -> Select[Run]:
    if wanted.project is not None:
        query = query.where(Run.project == wanted.project)
    if wanted.states:
        query = query.where(Run.state.in_(sorted(wanted.states)))
    if wanted.parent is not None:
        query = query.where(Run.parent == wanted.parent)
    for tag in wanted.tags:
        query = query.where(_has_tag(session, tag))
    if wanted.text:
        fields = (Run.name, Run.notes, Run.id)
        query = query.where(or_(*(field.icontains(wanted.text, autoescape=True) for field in fields)))
    return query


def _has_tag(session: Session, tag: str) -> ColumnElement[bool]:
    if session.get_bind().dialect.name == "postgresql":
        return cast(Run.tags, JSONB).contains([tag])
    each = func.json_each(Run.tags).table_valued("value")
    return select(each.c.value).where(each.c.value == tag).exists()


def names_like(session: Session, prefix: str) -> set[str]:
    """Names of runs that start with the prefix."""
    return set(session.scalars(select(Run.name).where(Run.name.startswith(prefix, autoescape=True))))


def projects(session: Session) -> dict[str, int]:
    """Project -> number of runs."""
    counted = session.execute(select(Run.project, func.count()).group_by(Run.project).order_by(Run.project))
    return dict(counted.all())  # of the rows: the result itself has keys(), so dict() would take it for a mapping


def open_alerts(session: Session, run_ids: Collection[str]) -> dict[str, dict[str, int]]:
    """Run id -> severity -> number of open alerts that are not muted."""
    query = (
        select(Alert.run_id, Alert.severity, func.count())
        .where(Alert.run_id.in_(run_ids), Alert.state == "open", Alert.muted.is_(False))
        .group_by(Alert.run_id, Alert.severity)
    )
    counts: dict[str, dict[str, int]] = {}
    for run_id, severity, count in session.execute(query):
        counts.setdefault(run_id, {})[severity] = count
    return counts


def worker_names(session: Session, runs: Collection[Run]) -> dict[str, str]:
    """Run id -> name of the worker of its newest attempt."""
    query = (
        select(Attempt.run_id, Worker.name)
        .join(Worker, Worker.id == Attempt.worker_id)
        .join(Run, and_(Run.id == Attempt.run_id, Run.attempt == Attempt.number))
        .where(Run.id.in_([run.id for run in runs]))
    )
    return dict(session.execute(query).all())


def attempt(session: Session, run_id: str, number: int) -> Attempt | None:
    """One attempt."""
    return session.get(Attempt, (run_id, number))


def attempts(session: Session, run_id: str) -> Sequence[tuple[Attempt, str | None]]:
    """Every attempt with its worker's name, oldest first."""
    query = (
        select(Attempt, Worker.name)
        .outerjoin(Worker, Worker.id == Attempt.worker_id)
        .where(Attempt.run_id == run_id)
        .order_by(Attempt.number)
    )
    return [(row, name) for row, name in session.execute(query)]


def newest_attached(session: Session, name: str, project: str) -> str | None:
    """Id of the newest run of this name that was attached from outside."""
    query = (
        select(Run.id)
        .where(Run.name == name, Run.project == project, Run.spec.is_(None))
        .order_by(Run.created_at.desc(), Run.id.desc())
        .limit(1)
    )
    return session.scalar(query)


def silent_attached(session: Session, before: datetime) -> Sequence[str]:
    """Ids of running attached runs that have not changed since `before`."""
    query = select(Run.id).where(Run.state == "running", Run.spec.is_(None), Run.updated_at < before).order_by(Run.id)
    return session.scalars(query).all()


def ended(session: Session, states: Collection[str], before: datetime) -> Sequence[Run]:
    """Runs in these states that ended before then."""
    return session.scalars(select(Run).where(Run.state.in_(sorted(states)), Run.ended_at < before)).all()


def num_lost(session: Session, run_id: str) -> int:
    """How many of its attempts ended because their worker fell silent."""
    query = select(func.count()).where(Attempt.run_id == run_id, Attempt.outcome == "lost")
    return session.scalar(query) or 0


def transitions(session: Session, run_id: str) -> Sequence[Transition]:
    """Every change of its state, oldest first."""
    query = select(Transition).where(Transition.run_id == run_id).order_by(Transition.id)
    return session.scalars(query).all()


def state_before(session: Session, run_id: str, state: str) -> str | None:
    """What the run was when it last became `state`."""
    query = (
        select(Transition.old)
        .where(Transition.run_id == run_id, Transition.new == state)
        .order_by(Transition.id.desc())
        .limit(1)
    )
    return session.scalar(query)


def checkpoints(session: Session, run_id: str) -> Sequence[Checkpoint]:
    """Every checkpoint that is still kept, by step and attempt."""
    query = select(Checkpoint).where(Checkpoint.run_id == run_id).order_by(Checkpoint.step, Checkpoint.attempt)
    return session.scalars(query).all()


def add_checkpoint(session: Session, checkpoint: Checkpoint, *, keep: int, kept: Collection[int] | None = None) -> None:
    """Stores or updates a checkpoint, and forgets those that its worker keeps no longer.

    Those are all but the steps `kept`, where the worker names them; else all but the newest `keep` and the best.
    """
    if checkpoint.best:
        for other in checkpoints(session, checkpoint.run_id):
            other.best = False
    session.merge(checkpoint)
    session.flush()
    of_run = Checkpoint.run_id == checkpoint.run_id
    if kept is not None:
        session.execute(delete(Checkpoint).where(of_run, Checkpoint.step.not_in(sorted({*kept, checkpoint.step}))))
        return
    steps = sorted({row.step for row in checkpoints(session, checkpoint.run_id)}, reverse=True)
    if len(steps) > keep:
        session.execute(delete(Checkpoint).where(of_run, Checkpoint.step < steps[keep - 1], Checkpoint.best.is_(False)))


def waiting_forks(session: Session, run_ids: Collection[str]) -> Sequence[Run]:
    """Forks of these runs that still have to start from a checkpoint of their parent: they have none of their own."""
    own = select(Checkpoint.run_id).where(Checkpoint.run_id == Run.id).exists()
    query = select(Run).where(
        Run.parent.in_(sorted(run_ids)), Run.parent_step.is_not(None), Run.state.in_(("queued", "starting")), ~own
    )
    return session.scalars(query.order_by(Run.id)).all()


def needed_checkpoints(session: Session, run_ids: Collection[str]) -> list[tuple[str, int]]:
    """(run, step) of the checkpoints of these runs that forks still have to start from."""
    forks = waiting_forks(session, run_ids)
    return sorted({(fork.parent or "", fork.parent_step or 0) for fork in forks})


def commands(session: Session, run_id: str, attempt: int) -> Sequence[Command]:
    """Commands that the attempt's worker has not carried out, oldest first."""
    query = (
        select(Command)
        .where(Command.run_id == run_id, Command.attempt == attempt, Command.done_at.is_(None))
        .order_by(Command.id)
    )
    return session.scalars(query).all()


def end_commands(session: Session, run_id: str, now: datetime) -> None:
    """Takes back what was asked of a run and not done."""
    query = select(Command).where(Command.run_id == run_id, Command.done_at.is_(None))
    for command in session.scalars(query):
        command.done_at = now
