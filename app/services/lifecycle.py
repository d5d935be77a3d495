"""The states of a run: which may follow which, and what a report from its training makes of it.

Every change is a `transition` row with its reason, an event for live pages, and a new revision of the run.
"""

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from app.errors import Conflict, Invalid, NotFound
from app.services import alerting, judging, measurements, samples
from app.storage import events as event_repository
from app.storage import runs as run_repository
from app.storage.database import Session
from app.storage.tables import LIVE_STATES, Attempt, Checkpoint, Run, Transition
from gyrostat.spec.checks import Problem
from gyrostat.spec.systems import Checkpoints
from gyrostat.wire.messages import Event

QUEUED, STARTING, RUNNING, PAUSED = "queued", "starting", "running", "paused"
FINISHED, FAILED, STOPPED, LOST, UNREACHABLE = "finished", "failed", "stopped", "lost", "unreachable"

_REPORTED_ENDS = {FINISHED, FAILED, STOPPED}

SUCCESSORS: Mapping[str | None, frozenset[str]] = {
    None: frozenset({QUEUED, RUNNING}),  # running: attached from outside
    # a worker that was given up may still report how its training ended
    QUEUED: frozenset({STARTING, PAUSED} | _REPORTED_ENDS),
    STARTING: frozenset({RUNNING, PAUSED, QUEUED, UNREACHABLE, LOST} | _REPORTED_ENDS),
    RUNNING: frozenset({PAUSED, QUEUED, UNREACHABLE, LOST} | _REPORTED_ENDS),
    UNREACHABLE: frozenset({STARTING, RUNNING, PAUSED, QUEUED, LOST} | _REPORTED_ENDS),
    PAUSED: frozenset({QUEUED, STOPPED}),
    LOST: frozenset(_REPORTED_ENDS),
    FINISHED: frozenset(),
    FAILED: frozenset(),
    STOPPED: frozenset(),
}
"""State -> the states that may follow it."""

STATES = tuple(state for state in SUCCESSORS if state is not None)
LIVE = frozenset(LIVE_STATES)
"""States in which a worker holds the run."""
ENDED = frozenset({FINISHED, FAILED, STOPPED, LOST})

MAX_TRACEBACK = 64_000
MAX_REASON = 2_000
MAX_KEPT = 1_002
"""As many as a spec can ask to be kept, the best, and the one just written."""


def transition(session: Session, run: Run, new: str, reason: str, now: datetime) -> None:
    """Changes the run's state and writes down why.

    Raises:
        Conflict: `new` may not follow the run's state.
    """
    session.flush()
    session.refresh(run, with_for_update=True)
    if new not in SUCCESSORS[run.state]:
        allowed = ", ".join(sorted(SUCCESSORS[run.state]))
        mend = f"it can become {allowed}" if allowed else "it has ended; fork it to train on"
        raise Conflict(f"run {run.id} is {run.state} and cannot become {new}; {mend}")
    old, run.state = run.state, new
    record(session, run, old, reason, now)


def record(session: Session, run: Run, old: str | None, reason: str, now: datetime) -> None:
    """Writes down a change that has been made to `run.state`."""
    run.reason = reason[:MAX_REASON]
    run.revision += 1
    run.updated_at = now
    if run.state in ENDED:
        run.ended_at = now
    elif run.state in (QUEUED, RUNNING):
        run.ended_at = None
    if run.state not in LIVE:
        run.wanted = None
        run_repository.end_commands(session, run.id, now)
        measurements.give_up(session, run.id, f"the run became {run.state} before it was measured", now)
    session.add(Transition(run_id=run.id, old=old, new=run.state, reason=run.reason, attempt=run.attempt, at=now))
    data = {"old": old, "new": run.state, "reason": run.reason, "attempt": run.attempt}
    event_repository.append(session, run.id, "state", data, step=run.step, now=now)
    _tell_of_silence(session, run, now)
    if run.state in ENDED:
        judging.judge(session, run, now)


def _tell_of_silence(session: Session, run: Run, now: datetime) -> None:
    if run.state in (UNREACHABLE, LOST):
        alerting.raise_external(session, run, "worker_lost", f"{run.reason[:1].upper()}{run.reason[1:]}.", None, now)
    elif run.state not in (QUEUED, STARTING):
        # trained again, or over: nobody waits for that worker any more
        alerting.resolve_external(session, run, "worker_lost", f"The run is {run.state}.", now)


def end_attempt(attempt: Attempt, outcome: str, now: datetime) -> None:
    """Takes the lease back. An end that was reported replaces a guess, never the other way round."""
    if attempt.ended_at is None:
        attempt.ended_at = now
    if attempt.outcome in (None, LOST):
        attempt.outcome = outcome
    attempt.lease_until = None


def release(session: Session, run: Run, attempt: Attempt, reason: str, *, max_attempts: int, now: datetime) -> None:
    """Gives a run up whose worker is gone: to another worker, or for good after `max_attempts` such losses."""
    end_attempt(attempt, LOST, now)
    session.flush()
    if run.attempt != attempt.number or run.state not in LIVE:
        return
    if run.wanted in (STOPPED, PAUSED):
        transition(session, run, run.wanted, f"asked for before; {reason}", now)
    elif run_repository.num_lost(session, run.id) >= max_attempts:
        transition(session, run, LOST, f"{reason}; {max_attempts} attempts were lost like this", now)
    else:
        transition(session, run, QUEUED, f"{reason}; another worker shall go on from the last checkpoint", now)


def apply_event(session: Session, run: Run, attempt_number: int, event: Event, now: datetime) -> None:
    """Writes down what a training process reports, and changes the run's state where it is the newest attempt's.

    Raises:
        NotFound: the run never had such an attempt.
        Invalid: the report lacks what its kind needs.
    """
    attempt = run_repository.attempt(session, run.id, attempt_number)
    if attempt is None:
        raise NotFound(f"run {run.id} has no attempt {attempt_number}; its newest is {run.attempt}")
    is_current = attempt_number == run.attempt
    if event.kind == "checkpoint":
        _add_checkpoint(session, run, attempt_number, event, now)
    if event.kind == "samples":
        event = samples.kept(session, run.id, attempt_number, event, now)
    if event.kind == "measurement":
        event = measurements.kept(session, run.id, attempt_number, event, now)
    if event.kind not in _STATE_CHANGES or not is_current:
        data = {**event.data, "attempt": attempt_number, "reported_at": event.at}
        event_repository.append(session, run.id, event.kind, data, step=event.step, now=now)
        run.revision += 1
        run.updated_at = now
    if is_current and event.kind in _STATE_CHANGES:
        _STATE_CHANGES[event.kind](session, run, attempt, event, now)


def _started(session: Session, run: Run, attempt: Attempt, event: Event, now: datetime) -> None:
    # heard late, of an attempt that was given up meanwhile: the run is not this worker's any more
    if attempt.ended_at is not None or run.state not in (STARTING, UNREACHABLE):
        return
    # the worker may have had to start before the checkpoint that it was given: older frames after that are not shown
    attempt.start_step = min(attempt.start_step, event.step)
    run.started_at = run.started_at or now
    transition(session, run, RUNNING, f"training began at step {event.step}", now)


def _ended(session: Session, run: Run, attempt: Attempt, event: Event, now: datetime) -> None:
    outcome = event.kind
    end_attempt(attempt, outcome, now)
    if outcome not in SUCCESSORS[run.state]:
        return  # told twice, or the user has decided otherwise
    reason = str(event.data.get("reason") or f"reported {outcome} at step {event.step}")
    if outcome == FAILED:
        error = str(event.data.get("error") or "no error was reported")
        run.failure = {
            "error": error[:MAX_REASON],
            "traceback": str(event.data.get("traceback") or "")[-MAX_TRACEBACK:],
        }
        reason = error
    transition(session, run, outcome, reason, now)


def _interrupted(session: Session, run: Run, attempt: Attempt, event: Event, now: datetime) -> None:
    end_attempt(attempt, "interrupted", now)
    if run.state not in LIVE:
        return
    if run.wanted in (STOPPED, PAUSED):
        transition(session, run, run.wanted, "asked for before its worker was told to go", now)
    else:
        transition(session, run, QUEUED, f"its worker was told to go at step {event.step}", now)


_STATE_CHANGES: Mapping[str, Callable[[Session, Run, Attempt, Event, datetime], None]] = {
    "started": _started,
    "finished": _ended,
    "failed": _ended,
    "stopped": _ended,
    "paused": _ended,
    "interrupted": _interrupted,
}


def _add_checkpoint(session: Session, run: Run, attempt: int, event: Event, now: datetime) -> None:
    step = _whole(event, "step", event.step)
    checkpoint = Checkpoint(
        run_id=run.id,
        attempt=attempt,
        step=step,
        best=event.data.get("best") is True,
        metric=_finite(event.data.get("metric")),
        size_bytes=_whole(event, "size_bytes", 0),
        at=now,
    )
    run_repository.add_checkpoint(session, checkpoint, keep=_keep(run.spec), kept=_kept(event.data.get("kept")))


def _whole(event: Event, key: str, default: int) -> int:
    value = event.data.get(key, default)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 2**53:
        return value
    problem = Problem(
        path=f"events.data.{key}",
        value=str(value)[:100],
        message="is not a whole number between 0 and 2^53",
        mend="send the checkpoint's own number",
    )
    raise Invalid(f"a checkpoint event at step {event.step} has no usable {key}", problems=[problem])


def _finite(value: Any) -> float | None:
    # NaN comes as a string in JSON; a validation loss that is none cannot be compared, so it is left out
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def _kept(steps: Any) -> list[int] | None:
    """The steps that a worker names as kept; None where it names none, or not so that they can be read."""
    if isinstance(steps, list) and all(isinstance(step, int) and not isinstance(step, bool) for step in steps):
        return [step for step in steps if 0 <= step <= 2**53][:MAX_KEPT]
    return None


def _keep(spec: Mapping[str, Any] | None) -> int:
    given = (spec or {}).get("checkpoints")
    return Checkpoints.model_validate(given).keep if given else Checkpoints().keep
