"""What became of a run: its changes of state, its attempts, its checkpoints."""

from datetime import datetime

from app.services.run_view import View
from app.services.runs import found
from app.storage import runs as run_repository
from app.storage.database import Session


class TransitionView(View):
    """One change of a run's state."""

    old: str | None
    new: str
    reason: str
    attempt: int
    at: datetime


class AttemptView(View):
    """One execution by one worker."""

    number: int
    worker: str | None
    """Null for a training attached from outside."""
    start_step: int
    """Where it resumed."""
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    """How it ended: finished, failed, stopped, paused, interrupted or lost."""


class History(View):
    """Everything that happened to a run, oldest first."""

    transitions: list[TransitionView]
    attempts: list[AttemptView]


class CheckpointView(View):
    """A checkpoint that can be forked from."""

    attempt: int
    step: int
    best: bool
    """The lowest validation loss so far."""
    metric: float | None
    """Validation loss at the step, where known and finite."""
    size_bytes: int
    at: datetime


class Checkpoints(View):
    """Checkpoints that are kept."""

    items: list[CheckpointView]
    """By step."""


def history(session: Session, run_id: str) -> History:
    """The run's transitions and attempts.

    Raises:
        NotFound: there is no such run.
    """
    found(session, run_id)
    return History(
        transitions=[TransitionView.model_validate(row) for row in run_repository.transitions(session, run_id)],
        attempts=[
            AttemptView(
                number=row.number,
                worker=worker,
                start_step=row.start_step,
                started_at=row.started_at,
                ended_at=row.ended_at,
                outcome=row.outcome,
            )
            for row, worker in run_repository.attempts(session, run_id)
        ],
    )


def checkpoints(session: Session, run_id: str) -> Checkpoints:
    """The run's checkpoints.

    Raises:
        NotFound: there is no such run.
    """
    found(session, run_id)
    rows = run_repository.checkpoints(session, run_id)
    return Checkpoints(items=[CheckpointView.model_validate(row) for row in rows])
