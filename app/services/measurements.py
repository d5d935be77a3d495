"""What is measured on demand in running trainings: its reports checked and kept, bounded in number, shown."""

from datetime import datetime
from typing import Any, Literal

from pydantic import ValidationError

from app.errors import Invalid, NotFound
from app.services.run_view import View
from app.storage import measurements as measurement_repository
from app.storage import runs as run_repository
from app.storage.database import Session
from app.storage.tables import Measurement
from gyrostat.spec.checks import Problem
from gyrostat.spec.parse import described
from gyrostat.wire.measurements import Report
from gyrostat.wire.messages import Event

WAITING, DONE, FAILED = "waiting", "done", "failed"
MAX_KEPT = 32
"""Measurements of one run: those that were asked for last."""
MAX_PROBLEMS = 20


class MeasurementView(View):
    """One measurement on demand, without what it found."""

    id: str
    state: Literal["waiting", "done", "failed"]
    settings: dict[str, Any]
    """What was asked for, with every default written out."""
    step: int | None = None
    """The optimizer step after which it was made; null while it is waited for."""
    attempt: int
    seconds: float | None = None
    """How long the training stood still for it."""
    samples: int | None = None
    """Samples of the probe batch that it was made on."""
    error: str | None = None
    """Why it failed."""
    asked_at: datetime
    ended_at: datetime | None = None


class MeasurementDocument(MeasurementView):
    """One measurement with what it found."""

    values: dict[str, Any] | None = None
    """By kind: `positions` and `losses`; `grid`, `density`, `error`, `eigenvalues`, `weights` and moments; `names` and
    `alignment`. Numbers that are not finite are strings. Null while it is waited for, and where it failed."""


class Measurements(View):
    """A run's measurements on demand."""

    items: list[MeasurementView]
    """Those asked for last first; the oldest are forgotten where there are many."""
    next: None = None


def listed(session: Session, run_id: str) -> Measurements:
    """What has been asked for and measured.

    Raises:
        NotFound: there is no such run.
    """
    if run_repository.get(session, run_id) is None:
        raise NotFound(f"there is no run {run_id!r}; GET /v1/runs lists those there are")
    rows = measurement_repository.listed(session, run_id)
    return Measurements(items=[MeasurementView.model_validate(row) for row in rows])


def get(session: Session, run_id: str, measurement_id: str) -> MeasurementDocument:
    """One of them, with its values.

    Raises:
        NotFound: there is no such run, or it has no such measurement.
    """
    row = measurement_repository.get(session, run_id, measurement_id)
    if row is None:
        known = ", ".join(each.id for each in listed(session, run_id).items) or "none"
        raise NotFound(f"run {run_id} has no measurement {measurement_id!r}; there are: {known}")
    return MeasurementDocument(**MeasurementView.model_validate(row).model_dump(), values=row.result)


def kept(session: Session, run_id: str, attempt: int, event: Event, now: datetime) -> Event:
    """Keeps the report that a `measurement` event carries; answers the event without values, as others hear of it.

    A report of what nobody asked for is kept as well: attached trainings measure by themselves.

    Raises:
        Invalid: it carries no sound report.
    """
    try:
        report = Report.model_validate(event.data)
    except ValidationError as error:
        raise _refusal(event, error) from error
    row = measurement_repository.get(session, run_id, report.id)
    if row is None:
        row = Measurement(run_id=run_id, id=report.id, asked_at=now)
        session.add(row)
    row.attempt, row.step, row.ended_at = attempt, event.step, now
    row.settings = report.settings.model_dump(mode="json")
    row.state = DONE if report.error is None else FAILED
    row.seconds, row.samples, row.error = report.seconds, report.samples, report.error
    row.result = None if report.values is None else report.values.model_dump(mode="json")
    bound(session, run_id)
    told = {"id": report.id, "kind": report.settings.kind, "state": row.state, "error": report.error}
    return event.model_copy(update={"data": told})


def bound(session: Session, run_id: str) -> None:
    """Forgets the oldest where there are too many."""
    measurement_repository.drop_oldest(session, run_id, MAX_KEPT)


def give_up(session: Session, run_id: str, reason: str, now: datetime) -> None:
    """Whoever was to measure is gone: what is waited for has failed, unless its report still comes."""
    for row in measurement_repository.waiting(session, run_id):
        row.state, row.error, row.ended_at = FAILED, reason, now


def _refusal(event: Event, error: ValidationError) -> Invalid:
    problems = [
        Problem(path=f"events.data.{each.path}", value=each.value, message=each.message, mend=each.mend)
        for each in described(error, Report, see="see /docs")
    ]
    return Invalid(
        f"the measurement of step {event.step} cannot be kept: {problems[0].path} {problems[0].message}",
        problems=problems[:MAX_PROBLEMS],
    )
