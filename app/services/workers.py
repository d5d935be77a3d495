"""Workers: who they are, what they train, and what becomes of it when they fall silent.

An attempt's lease is renewed by its worker's heartbeats and judged by the server's clock alone. A lease that nobody
could renew, because the backend itself was away, is no sign of a lost worker: it gets a fresh grace.
"""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from app.errors import NotFound
from app.services import lifecycle
from app.services.run_view import View
from app.settings import AppSettings
from app.storage import runs as run_repository
from app.storage import workers as worker_repository
from app.storage.database import Session
from app.storage.tables import Attempt, Run, Worker
from gyrostat.wire.messages import (
    Assignment,
    CheckpointReference,
    Command,
    Heartbeat,
    HeartbeatAnswer,
    Registered,
    Registration,
    RunAttempt,
    RunningReport,
)


class WorkerView(View):
    """A process that claims queued runs."""

    id: str
    name: str
    host: str
    pid: int
    device: str
    slots: int
    """Runs it trains at once; 0 while it is leaving."""
    datasets: list[str]
    """Data sets that it can load."""
    version: str
    registered_at: datetime
    heard_at: datetime
    reachable: bool
    """Whether it was heard within `unreachable_seconds`."""
    runs: list[str]
    """Runs whose leases it holds."""


def register(session: Session, registration: Registration, settings: AppSettings, now: datetime) -> Registered:
    """The worker's id, the same for the same name.

    A worker that comes back as another process has lost what the old one trained: it is released at once.
    """
    worker = worker_repository.named(session, registration.name)
    if worker is None:
        worker = Worker(id=secrets.token_hex(8), name=registration.name, registered_at=now)
        session.add(worker)
    elif (worker.host, worker.pid) != (registration.host, registration.pid):
        for attempt in worker_repository.leased(session, worker_id=worker.id):
            _release(session, attempt, f"its worker {worker.name} was restarted", settings, now)
    for name, value in registration.model_dump(exclude={"name"}).items():
        setattr(worker, name, value)
    worker.heard_at = now
    session.flush()
    return Registered(id=worker.id, heartbeat_seconds=settings.heartbeat_seconds, lease_seconds=settings.lease_seconds)


def heartbeat(
    session: Session, worker_id: str, report: Heartbeat, settings: AppSettings, now: datetime
) -> HeartbeatAnswer:
    """Renews the leases of the runs that the worker still holds, and tells what to do with them.

    Raises:
        NotFound: no such worker; it shall register again.
    """
    worker = _found(session, worker_id)
    worker.heard_at = now
    if report.leaving:
        worker.slots = 0
    if report.done:
        worker_repository.mark_done(session, worker.id, report.done, now)
    commands: list[Command] = []
    abandoned: list[RunAttempt] = []
    for running in sorted(report.running, key=lambda running: running.run):
        run = _renewed(session, worker, running, settings, now)
        if run is None:
            abandoned.append(RunAttempt(run=running.run, attempt=running.attempt))
        else:
            commands += [
                Command.model_validate({
                    "id": row.id, "run": row.run_id, "attempt": row.attempt, "kind": row.kind, "data": row.data,
                })
                for row in run_repository.commands(session, run.id, running.attempt)
            ]  # fmt: skip
    needed = run_repository.needed_checkpoints(session, {running.run for running in report.running})
    return HeartbeatAnswer(
        commands=commands,
        abandon=abandoned,
        keep=[CheckpointReference(run=run_id, step=step) for run_id, step in needed],
        lease_seconds=settings.lease_seconds,
    )


def _renewed(
    session: Session, worker: Worker, report: RunningReport, settings: AppSettings, now: datetime
) -> Run | None:
    run = run_repository.locked(session, report.run)
    attempt = None if run is None else run_repository.attempt(session, run.id, report.attempt)
    if run is None or attempt is None or attempt.worker_id != worker.id:
        return None
    if run.attempt != report.attempt or attempt.ended_at is not None or run.state not in lifecycle.LIVE:
        return None
    attempt.lease_until = now + timedelta(seconds=settings.lease_seconds)
    if run.state == lifecycle.UNREACHABLE:
        before = run_repository.state_before(session, run.id, lifecycle.UNREACHABLE) or lifecycle.RUNNING
        lifecycle.transition(session, run, before, f"worker {worker.name} was heard again", now)
    if report.step > run.step:
        run.step = report.step
        run.updated_at = now
    return run


def has_work(session: Session, worker_id: str) -> bool:
    """Whether a run is queued whose data the worker has.

    Raises:
        NotFound: no such worker; it shall register again.
    """
    worker = _found(session, worker_id)
    return worker.slots > 0 and bool(worker_repository.queued(session, worker.datasets))


def claim(session: Session, worker_id: str, settings: AppSettings, now: datetime) -> Assignment | None:
    """The oldest queued run whose data the worker has, as a new attempt under a lease; None where there is none.

    Raises:
        NotFound: no such worker; it shall register again.
    """
    worker = _found(session, worker_id)
    worker.heard_at = now
    for run_id in worker_repository.queued(session, worker.datasets) if worker.slots else ():
        if worker_repository.take(session, run_id):
            return _assigned(session, worker, run_id, settings, now)
    return None


def _assigned(session: Session, worker: Worker, run_id: str, settings: AppSettings, now: datetime) -> Assignment:
    run = run_repository.locked(session, run_id)
    assert run is not None, "the update that took the run holds its row"
    resume = _resume_from(session, run)
    session.add(
        Attempt(
            run_id=run.id,
            number=run.attempt,
            worker_id=worker.id,
            start_step=0 if resume is None else resume.step,
            lease_until=now + timedelta(seconds=settings.lease_seconds),
            started_at=now,
            ended_at=None,
            outcome=None,
        )
    )
    # what the attempt before did after its last checkpoint is done again
    run.step = 0 if resume is None else resume.step
    beginning = "" if resume is None else f", from the checkpoint of step {resume.step}"
    lifecycle.record(session, run, lifecycle.QUEUED, f"claimed by worker {worker.name}{beginning}", now)
    return Assignment(
        run=run.id,
        attempt=run.attempt,
        spec=run.spec or {},
        resume=resume,
        lease_seconds=settings.lease_seconds,
    )


def _resume_from(session: Session, run: Run) -> CheckpointReference | None:
    own = run_repository.checkpoints(session, run.id)
    if own:
        return CheckpointReference(run=run.id, step=own[-1].step)
    if run.parent is not None and run.parent_step is not None:
        return CheckpointReference(run=run.parent, step=run.parent_step)
    return None


def list_workers(session: Session, settings: AppSettings, now: datetime) -> list[WorkerView]:
    """Every worker, with what it trains."""
    held: dict[str | None, list[str]] = {}
    for attempt in worker_repository.leased(session):
        held.setdefault(attempt.worker_id, []).append(attempt.run_id)
    silent = timedelta(seconds=settings.unreachable_seconds)
    return [
        WorkerView.model_validate(
            {
                **{name: getattr(row, name) for name in WorkerView.model_fields if name not in ("reachable", "runs")},
                "reachable": now - row.heard_at <= silent,
                "runs": held.get(row.id, []),
            }
        )
        for row in worker_repository.all_workers(session)
    ]


def silent_leases(session: Session, settings: AppSettings, now: datetime) -> Sequence[tuple[str, int]]:
    """(run, attempt) of the leases that were not renewed for long enough to do something about."""
    quiet = timedelta(seconds=settings.lease_seconds - settings.unreachable_seconds)
    return [
        (attempt.run_id, attempt.number)
        for attempt in worker_repository.leased(session)
        if attempt.lease_until is not None and attempt.lease_until - quiet < now
    ]


def judge(session: Session, run_id: str, number: int, settings: AppSettings, now: datetime) -> str | None:
    """Makes a silent attempt's run `unreachable`, or releases it when its lease has run out; returns the new state."""
    run = run_repository.locked(session, run_id)
    attempt = run_repository.attempt(session, run_id, number)
    if run is None or attempt is None or attempt.lease_until is None:
        return None
    seconds = settings.lease_seconds - (attempt.lease_until - now).total_seconds()
    if seconds <= settings.unreachable_seconds:
        return None  # heard again meanwhile
    worker = "its worker" if attempt.worker_id is None else f"worker {_found(session, attempt.worker_id).name}"
    reason = f"{worker} has not been heard for {seconds:.0f} s"
    if attempt.lease_until <= now:
        _release(session, attempt, reason, settings, now)
    elif run.state in (lifecycle.STARTING, lifecycle.RUNNING) and run.attempt == number:
        lifecycle.transition(session, run, lifecycle.UNREACHABLE, reason, now)
    else:
        return None
    return run.state


def silent_attached(
    session: Session, settings: AppSettings, *, listening_since: datetime, now: datetime
) -> Sequence[str]:
    """Attached runs that sent nothing for longer than they may, all of it while somebody was there to hear them."""
    quiet = timedelta(seconds=settings.attached_silence_seconds)
    return [] if listening_since > now - quiet else run_repository.silent_attached(session, now - quiet)


def judge_attached(session: Session, run_id: str, settings: AppSettings, now: datetime) -> str | None:
    """Makes a silent attached run `unreachable`; returns the new state. It heals with its next message."""
    run = run_repository.locked(session, run_id)
    if run is None or run.spec is not None or run.state != lifecycle.RUNNING:
        return None
    seconds = (now - run.updated_at).total_seconds()
    if seconds <= settings.attached_silence_seconds:
        return None  # heard again meanwhile
    lifecycle.transition(
        session, run, lifecycle.UNREACHABLE, f"its program has not been heard for {seconds:.0f} s", now
    )
    return run.state


def grant_grace(session: Session, settings: AppSettings, now: datetime) -> int:
    """Gives every lease its full time again, since nobody was there to renew it; returns how many."""
    return worker_repository.extend_leases(session, now + timedelta(seconds=settings.lease_seconds))


def _release(session: Session, attempt: Attempt, reason: str, settings: AppSettings, now: datetime) -> None:
    run = run_repository.locked(session, attempt.run_id)
    if run is not None:
        lifecycle.release(session, run, attempt, reason, max_attempts=settings.max_attempts, now=now)


def _found(session: Session, worker_id: str) -> Worker:
    worker = worker_repository.get(session, worker_id)
    if worker is None:
        raise NotFound(f"there is no worker {worker_id!r}; register it with POST /v1/workers")
    return worker
