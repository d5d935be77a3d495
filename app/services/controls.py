"""Stop, pause, resume, change, measure: at once where no worker holds the run, by a command to its worker else."""

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from app.errors import Conflict, Invalid, NotFound
from app.services import lifecycle, measurements
from app.services.measurements import MeasurementView
from app.services.run_requests import ControlRequest
from app.services.run_view import RunView, view
from app.storage import events as event_repository
from app.storage import measurements as measurement_repository
from app.storage import runs as run_repository
from app.storage.database import Session
from app.storage.tables import Command, Run
from app.storage.tables import Measurement as MeasurementRow
from gyrostat.spec.measurements import Measurement
from gyrostat.spec.parse import described
from gyrostat.wire.measurements import Order

MAX_WAITING = 4
"""Measurements of one run that may be waited for at once: a training stands still for each."""


def held(session: Session, run_id: str) -> Run:
    """The run, held against other writers.

    Raises:
        NotFound: there is none.
    """
    run = run_repository.locked(session, run_id)
    if run is None:
        raise NotFound(f"there is no run {run_id!r}; GET /v1/runs lists those there are")
    return run


def stop(session: Session, run_id: str, now: datetime) -> RunView:
    """Ends a run; its worker writes a last checkpoint first. Stopping a stopped run changes nothing.

    Raises:
        Conflict: it has ended otherwise.
    """
    run = held(session, run_id)
    if run.state == lifecycle.STOPPED:
        return view(session, run)
    if run.state in lifecycle.LIVE and run.spec is not None:
        _ask(session, run, "stop", lifecycle.STOPPED, now)
    else:
        attempt = run_repository.attempt(session, run.id, run.attempt)
        if attempt is not None:
            lifecycle.end_attempt(attempt, lifecycle.STOPPED, now)
        lifecycle.transition(session, run, lifecycle.STOPPED, "stopped by request", now)
    return view(session, run)


def pause(session: Session, run_id: str, now: datetime) -> RunView:
    """Lets a run rest, with a checkpoint, and frees its worker. Pausing a paused run changes nothing.

    Raises:
        Conflict: it has ended, is being stopped, or was attached from outside.
    """
    run = held(session, run_id)
    if run.spec is None:
        raise Conflict(f"run {run.id} was attached from outside and cannot be paused from here; pause its own program")
    if run.wanted == lifecycle.STOPPED:
        raise Conflict(f"run {run.id} is being stopped; fork it when it has ended")
    if run.state == lifecycle.PAUSED:
        return view(session, run)
    if run.state in lifecycle.LIVE:
        _ask(session, run, "pause", lifecycle.PAUSED, now)
    else:
        lifecycle.transition(session, run, lifecycle.PAUSED, "paused by request", now)
    return view(session, run)


def resume(session: Session, run_id: str, now: datetime) -> RunView:
    """Queues a paused run again. Resuming one that is queued or trained already changes nothing.

    Raises:
        Conflict: it has ended, or is on its way to pause or stop.
    """
    run = held(session, run_id)
    if run.wanted is not None:
        raise Conflict(f"run {run.id} is on its way to be {run.wanted}; resume it when it is paused")
    if run.state != lifecycle.QUEUED and run.state not in lifecycle.LIVE:
        lifecycle.transition(session, run, lifecycle.QUEUED, "resumed by request", now)
    return view(session, run)


def control(session: Session, run_id: str, change: ControlRequest | Mapping[str, Any], now: datetime) -> RunView:
    """Asks the run's worker to change the running training.

    Raises:
        Conflict: no worker trains it now.
        Invalid: the change is none.
    """
    wanted = change if isinstance(change, ControlRequest) else _control(change)
    run = _trained(session, run_id, "can be changed live, fork it instead")
    session.add(_command(run, "control", wanted.model_dump(exclude_none=True), now))
    return view(session, run)


def measure(session: Session, run_id: str, settings: Measurement, now: datetime) -> MeasurementView:
    """Asks the run's worker for a measurement, which is `waiting` until its report has come.

    Raises:
        NotFound: there is no such run.
        Conflict: no worker trains it now, it is about to end, or too many are waited for.
    """
    run = _trained(session, run_id, "can be measured on demand")
    if run.wanted is not None:
        raise Conflict(f"run {run.id} is on its way to be {run.wanted}; measure it when it is trained again")
    if len(measurement_repository.waiting(session, run.id)) >= MAX_WAITING:
        raise Conflict(f"run {run.id} has {MAX_WAITING} measurements to make; ask again when one of them has come")
    order = Order(id=secrets.token_hex(8), settings=settings)
    row = MeasurementRow(
        run_id=run.id,
        id=order.id,
        attempt=run.attempt,
        settings=settings.model_dump(mode="json"),
        state=measurements.WAITING,
        asked_at=now,
    )
    session.add(row)
    session.add(_command(run, "measure", order.model_dump(mode="json"), now))
    measurements.bound(session, run.id)
    told = {"id": order.id, "kind": settings.kind, "state": row.state}
    event_repository.append(session, run.id, "measurement", told, step=run.step, now=now)
    run.revision += 1
    run.updated_at = now
    return MeasurementView.model_validate(row)


def _trained(session: Session, run_id: str, what: str) -> Run:
    run = held(session, run_id)
    if run.spec is None or run.state not in lifecycle.LIVE:
        state = "attached from outside" if run.spec is None else run.state
        raise Conflict(f"run {run.id} is {state}; only a run that a worker trains {what}")
    return run


def _control(change: Mapping[str, Any]) -> ControlRequest:
    try:
        return ControlRequest.model_validate(dict(change))
    except ValidationError as error:
        raise Invalid(
            "the control cannot be used", problems=list(described(error, ControlRequest, see="see /docs"))
        ) from None


def _ask(session: Session, run: Run, kind: str, wanted: str, now: datetime) -> None:
    if run.wanted == wanted:
        return
    run.wanted = wanted
    run.revision += 1
    run.updated_at = now
    session.add(_command(run, kind, {}, now))


def _command(run: Run, kind: str, data: dict[str, Any], now: datetime) -> Command:
    return Command(run_id=run.id, attempt=run.attempt, kind=kind, data=data, created_at=now, done_at=None)
