"""What a training process says, stored once: layouts, batches of frames, events; each message is one transaction."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from app.errors import Conflict, Invalid, NotFound
from app.services import alerting, lifecycle
from app.storage import frames as frame_repository
from app.storage import runs as run_repository
from app.storage.database import Session
from app.storage.tables import Run
from gyrostat.spec.checks import Problem
from gyrostat.wire.frame import Batch, Column
from gyrostat.wire.layout import Layout, MetricDeclaration
from gyrostat.wire.messages import Acknowledgement, EventsMessage, LayoutMessage

CLOCK = (
    MetricDeclaration(
        name="progress.seconds",
        unit="s",
        axis="run",
        description="Wall time of the measurement, since the run was created; kept by the backend from each frame.",
    ),
    MetricDeclaration(
        name="progress.epoch",
        unit="1",
        axis="run",
        description="Passes over the training data so far, fractional; kept by the backend from each frame.",
    ),
)
"""Metrics that the backend makes of every frame's time and epoch, so that runs can be compared by them."""

MAX_PROBLEMS = 20


@dataclass(frozen=True)
class _Numbered:
    producer: str
    sequence: int
    attempt: int


@dataclass(frozen=True)
class _Stored:
    frames: int = 0
    points: int = 0
    tighten: bool = False


def store_layout(session: Session, run_id: str, message: LayoutMessage, now: datetime) -> Acknowledgement:
    """Keeps a version of what the run's columns mean.

    Raises:
        NotFound: no such run. Conflict: no such attempt, or the version is taken by another layout.
    """

    def store(run: Run, _: bool) -> _Stored:
        frame_repository.add_layout(session, run_id, message.attempt, message.layout)
        return _Stored()

    return _once(session, run_id, _Numbered(message.producer, message.sequence, message.attempt), store, now)


def store_frames(session: Session, run_id: str, batch: Batch, now: datetime) -> Acknowledgement:
    """Stores a batch, and in the same transaction lets the detectors judge it.

    Frames of an older attempt and late ones are kept too; they change neither the run's step nor its newest values.
    Recalled ones, out of the flight recorder, add the rows that are missing at their steps, and are not judged: what
    made them come has been.

    Raises:
        NotFound: no such run. Conflict: no such attempt.
        Invalid: the layout is not there, or the columns do not fit it; nothing is stored.
    """

    def store(run: Run, is_late: bool) -> _Stored:
        layout = _fitting_layout(session, run, batch)
        is_newest = batch.attempt == run.attempt and not is_late and not batch.recalled
        declared = {metric.name: metric for metric in (*CLOCK, *layout.metrics)}
        columns = [*batch.columns, *_clock_columns(run, batch, layout)]
        if batch.recalled:
            columns = _missing(session, run, batch, columns)
        arrival = frame_repository.Arrival(
            attempt=batch.attempt,
            layout=batch.layout,
            steps=batch.steps,
            columns=columns,
            declared=declared,
            is_newest=is_newest,
        )
        frame_repository.append(session, run_id, arrival)
        if is_newest:
            run.step = _step_after(run, batch)
        tighten = not batch.recalled and alerting.evaluate(session, run, batch, layout, now)
        return _Stored(frames=len(batch.steps), points=batch.num_points, tighten=tighten)

    return _once(session, run_id, _Numbered(batch.producer, batch.sequence, batch.attempt), store, now)


def store_events(session: Session, run_id: str, message: EventsMessage, now: datetime) -> Acknowledgement:
    """Writes down what happened in the training, and lets it change the run's state.

    Raises:
        NotFound: no such run. Conflict: no such attempt. Invalid: an event lacks what its kind needs.
    """

    def store(run: Run, _: bool) -> _Stored:
        for event in message.events:
            lifecycle.apply_event(session, run, message.attempt, event, now)
        return _Stored()

    return _once(session, run_id, _Numbered(message.producer, message.sequence, message.attempt), store, now)


def _once(
    session: Session, run_id: str, message: _Numbered, store: Callable[[Run, bool], _Stored], now: datetime
) -> Acknowledgement:
    # The run's row is held until the commit, so that several backend processes take a run's messages in turn.
    run = run_repository.locked(session, run_id)
    if run is None:
        raise NotFound(f"there is no run {run_id!r}; it was never made, or it was deleted")
    accepted = frame_repository.accept(session, run_id, message.attempt, message.producer, message.sequence)
    if accepted is None:
        raise Conflict(
            f"run {run_id} has no attempt {message.attempt}; its newest is {run.attempt}. "
            "Send the attempt's number that the run was claimed or attached with"
        )
    missing = [gap for gap in accepted.missing if gap[0] < message.sequence]
    if accepted.is_repeat:
        return Acknowledgement(status="duplicate", sequence=message.sequence, missing=missing)
    stored = store(run, accepted.is_late)
    if run.spec is None and run.state == lifecycle.UNREACHABLE:
        lifecycle.transition(session, run, lifecycle.RUNNING, "its program was heard again", now)
    run.revision += 1
    run.updated_at = now
    return Acknowledgement(
        status="stored",
        sequence=message.sequence,
        frames=stored.frames,
        points=stored.points,
        missing=missing,
        tighten=stored.tighten,
    )


def _step_after(run: Run, batch: Batch) -> int:
    """Heartbeats tell the step before a slow spool does, so within an attempt it only rises.

    An attached program may restart within its one attempt; there a step that goes back means just that.
    """
    newest = int(batch.steps[-1])
    return newest if run.spec is None else max(run.step, newest)


def _fitting_layout(session: Session, run: Run, batch: Batch) -> Layout:
    layout = frame_repository.layout(session, run.id, batch.attempt, batch.layout)
    if layout is None:
        problem = Problem(
            path="layout",
            value=batch.layout,
            message=f"attempt {batch.attempt} has no layout {batch.layout}",
            mend=f"send layout {batch.layout} to /v1/runs/{run.id}/layout first",
        )
        raise Invalid(f"layout {batch.layout} of attempt {batch.attempt} has not been sent", problems=[problem])
    problems = _misfits(batch, layout)
    if problems:
        raise Invalid(
            f"{len(problems)} of the batch's columns do not fit layout {batch.layout}; nothing was stored",
            problems=problems[:MAX_PROBLEMS],
        )
    return layout


def _misfits(batch: Batch, layout: Layout) -> list[Problem]:
    problems = []
    for place, column in enumerate(batch.columns):
        width = layout.width(column.metric)
        if width is None:
            problems.append(
                Problem(
                    path=f"columns[{place}].metric",
                    value=column.metric,
                    message=f"layout {layout.version} does not declare it",
                    mend="declare it in a new version of the layout, or leave the column out",
                )
            )
        elif column.values.shape[1] != width:
            problems.append(
                Problem(
                    path=f"columns[{place}].values",
                    value=column.values.shape[1],
                    message=f"rows of {column.metric} have {width} values in layout {layout.version}",
                    mend=f"send {width} values a row, one for each name, or a new version of the layout",
                )
            )
    return problems


def _missing(session: Session, run: Run, batch: Batch, columns: list[Column]) -> list[Column]:
    """Of each column the rows at steps that have none yet."""
    first, last = int(batch.steps[0]), int(batch.steps[-1])
    found = []
    for column in columns:
        held = frame_repository.steps_held(session, run.id, batch.attempt, column.metric, first, last)
        new = ~np.isin(batch.steps[column.rows], list(held))
        if new.any():
            found.append(Column(metric=column.metric, rows=column.rows[new], values=column.values[new]))
    return found


def _clock_columns(run: Run, batch: Batch, layout: Layout) -> list[Column]:
    rows = np.arange(len(batch.steps), dtype=np.uint32)
    measured = {"progress.seconds": batch.times - run.created_at.timestamp(), "progress.epoch": batch.epochs}
    with np.errstate(over="ignore"):
        return [
            Column(metric=name, rows=rows, values=values.astype(np.float32)[:, None])
            for name, values in measured.items()
            if layout.width(name) is None
        ]
