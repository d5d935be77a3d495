"""Rows that arriving frames make: numbered messages, layouts, metrics with their newest values, level-0 blocks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from app.errors import Conflict
from app.storage import blocks
from app.storage.recent import Recent
from app.storage.tables import Attempt, Block, DetectorState, Metric, Producer
from app.storage.tables import Layout as LayoutRow
from gyrostat.wire.frame import Column
from gyrostat.wire.layout import Layout, MetricDeclaration
from gyrostat.wire.values import Float32Array

LAYOUTS = "layouts"
"""Of a session's `info`: the layouts that readers have parsed, by run, attempt and version; they never change."""
MAX_GAPS = 1000
"""Separate gaps in one producer's numbers that are remembered."""


@dataclass(frozen=True)
class Acceptance:
    """Whether a numbered message was stored before, or comes late, and which numbers below the newest never arrived."""

    is_repeat: bool
    is_late: bool
    missing: list[tuple[int, int]]


def accept(session: Session, run_id: str, attempt: int, producer: str, sequence: int) -> Acceptance:
    """Notes that a message has come. One that fills a gap is as welcome as the next one.

    Raises:
        Conflict: it would leave more gaps than are remembered.
    """
    row = session.get(Producer, (run_id, attempt, producer))
    if row is None:
        row = Producer(run_id=run_id, attempt=attempt, name=producer, last=0, missing=[])
        session.add(row)
    gaps = [(int(first), int(last)) for first, last in row.missing]
    is_late = sequence < row.last
    if sequence > row.last:
        if sequence > row.last + 1:
            gaps.append((row.last + 1, sequence - 1))
        row.last = sequence
    else:
        around = next((gap for gap in gaps if gap[0] <= sequence <= gap[1]), None)
        if around is None:
            return Acceptance(is_repeat=True, is_late=is_late, missing=gaps)
        place = gaps.index(around)
        halves = [(around[0], sequence - 1), (sequence + 1, around[1])]
        gaps[place : place + 1] = [half for half in halves if half[0] <= half[1]]
    if len(gaps) > MAX_GAPS:
        raise Conflict(
            f"producer {producer!r} has left more than {MAX_GAPS} gaps in its numbers; send the messages of a producer "
            "in order, and start a new attempt to number them anew"
        )
    row.missing = [list(gap) for gap in gaps]
    return Acceptance(is_repeat=False, is_late=is_late, missing=gaps)


def layout(session: Session, run_id: str, attempt: int, version: int) -> Layout | None:
    """One version of an attempt's layout."""
    row = session.get(LayoutRow, (run_id, attempt, version))
    return None if row is None else _read(row.document)


def add_layout(session: Session, run_id: str, attempt: int, added: Layout) -> None:
    """Stores a version of an attempt's layout; the same one twice is one.

    Raises:
        Conflict: the version is taken by another layout.
    """
    document = added.model_dump(mode="json")
    row = session.get(LayoutRow, (run_id, attempt, added.version))
    if row is None:
        session.add(LayoutRow(run_id=run_id, attempt=attempt, version=added.version, document=document))
        session.flush()
    elif row.document != document:
        raise Conflict(
            f"layout {added.version} of attempt {attempt} is stored already and is another one; "
            "send a changed layout under the next version"
        )


def layouts(session: Session, run_id: str) -> dict[tuple[int, int], Layout]:
    """Every layout by (attempt, version), oldest first. What sessions that only read have parsed is remembered."""
    known: Recent[tuple[str, int, int], Layout] | None = session.info.get(LAYOUTS)
    keys = (
        select(LayoutRow.attempt, LayoutRow.version)
        .where(LayoutRow.run_id == run_id)
        .order_by(LayoutRow.attempt, LayoutRow.version)
    )
    return {
        (attempt, version): _kept_layout(session, known, (run_id, attempt, version))
        for attempt, version in session.execute(keys)
    }


def _kept_layout(
    session: Session, known: Recent[tuple[str, int, int], Layout] | None, key: tuple[str, int, int]
) -> Layout:
    found = known.get(key) if known is not None else None
    if found is None:
        found = layout(session, *key)
        assert found is not None, "it is in the same snapshot as its key"
        if known is not None:
            known.put(key, found)
    return found


def newest_layout(session: Session, run_id: str) -> tuple[int, Layout] | None:
    """The newest attempt that has sent a layout, and its newest one."""
    query = (
        select(LayoutRow)
        .where(LayoutRow.run_id == run_id)
        .order_by(LayoutRow.attempt.desc(), LayoutRow.version.desc())
        .limit(1)
    )
    row = session.scalars(query).first()
    return None if row is None else (row.attempt, _read(row.document))


def names_of(known: Layout | None, metric: str) -> list[str]:
    """Names of a metric's columns; a scalar, and a metric that the backend itself adds, has one empty name."""
    for declared in known.metrics if known is not None else ():
        if declared.name == metric and declared.axis != "run":
            return known.axes[declared.axis] if known is not None else []
    return [""]


def _read(document: dict[str, Any]) -> Layout:
    # It was validated when it came; doing so again for every batch would cost more than storing the batch.
    declared = [MetricDeclaration.model_construct(**metric) for metric in document["metrics"]]
    return Layout.model_construct(version=document["version"], axes=document["axes"], metrics=declared)


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """Columns of one batch that are stored together.

    Attributes:
        steps: (frames,) that the columns' rows index into.
        declared: unit, axis and meaning of each column's metric.
        is_newest: in order and of the run's newest attempt; only then they become the latest values shown.
    """

    attempt: int
    layout: int
    steps: npt.NDArray[np.int64]
    columns: Sequence[Column]
    declared: dict[str, MetricDeclaration]
    is_newest: bool


def append(session: Session, run_id: str, arrival: Arrival) -> None:
    """Stores a block for each column and keeps the metrics' counts and newest rows; the run must be locked."""
    known = _metrics_by_name(session, run_id)
    new = [column.metric for column in arrival.columns if column.metric not in known]
    if new:
        known |= _add_metrics(session, run_id, [arrival.declared[name] for name in new])
    bodies, changes = [], []
    for column in arrival.columns:
        steps = arrival.steps[column.rows]
        metric = known[column.metric]
        bodies.append(_block(metric["id"], arrival, steps, column.values))
        changes.append(_metric_change(metric, arrival, column.metric, steps, column.values))
    if bodies:
        session.execute(insert(Block), bodies)
        session.execute(update(Metric), changes)


def steps_held(session: Session, run_id: str, attempt: int, metric: str, first: int, last: int) -> set[int]:
    """Steps from `first` to `last` at which the attempt has a row of the metric."""
    query = (
        select(Block.body)
        .join(Metric, Metric.id == Block.metric_id)
        .where(
            Metric.run_id == run_id,
            Metric.name == metric,
            Block.attempt == attempt,
            Block.level == 0,
            Block.last_step >= first,
            Block.first_step <= last,
        )
    )
    return {step for body in session.scalars(query) for step in blocks.decode(body)[0].tolist()}


_METRIC_STATE = ("id", "name", "unit", "axis", "description", "count", "first_step", "last_step")


def _metrics_by_name(session: Session, run_id: str) -> dict[str, dict[str, Any]]:
    columns = [getattr(Metric, name) for name in _METRIC_STATE]
    found = session.execute(select(*columns).where(Metric.run_id == run_id)).mappings()
    return {row["name"]: dict(row) for row in found}


def _add_metrics(session: Session, run_id: str, new: Iterable[MetricDeclaration]) -> dict[str, dict[str, Any]]:
    described = [{**_description(declared), "name": declared.name, "run_id": run_id, "count": 0} for declared in new]
    session.execute(insert(Metric), described)
    return _metrics_by_name(session, run_id)


def _description(declared: MetricDeclaration) -> dict[str, str]:
    return {"unit": declared.unit, "axis": declared.axis, "description": declared.description}


def _block(metric_id: int, arrival: Arrival, steps: npt.NDArray[np.int64], values: Float32Array) -> dict[str, Any]:
    return {
        "metric_id": metric_id,
        "attempt": arrival.attempt,
        "level": 0,
        "layout": arrival.layout,
        "first_step": int(steps[0]),
        "last_step": int(steps[-1]),
        "rows": len(steps),
        "width": values.shape[1],
        "sealed": False,
        "body": blocks.encode(steps, values),
    }


def _metric_change(
    metric: dict[str, Any], arrival: Arrival, name: str, steps: npt.NDArray[np.int64], values: Float32Array
) -> dict[str, Any]:
    first, last = int(steps[0]), int(steps[-1])
    change = {
        "id": metric["id"],
        "count": metric["count"] + len(steps),
        "first_step": first if metric["first_step"] is None else min(first, metric["first_step"]),
    }
    if arrival.is_newest or metric["last_step"] is None:
        change |= {
            **_description(arrival.declared[name]),
            "last_step": last,
            "latest": values[-1].astype("<f4").tobytes(),
            "latest_layout": arrival.layout,
            "latest_attempt": arrival.attempt,
        }
    return change


def metrics(session: Session, run_id: str) -> Sequence[Metric]:
    """The run's metrics by name."""
    return session.scalars(select(Metric).where(Metric.run_id == run_id).order_by(Metric.name)).all()


def metric(session: Session, run_id: str, name: str) -> Metric | None:
    """One metric of a run."""
    return session.scalars(select(Metric).where(Metric.run_id == run_id, Metric.name == name)).one_or_none()


class Readable(NamedTuple):
    """A metric without its newest row, and number and first step of each attempt of its run, oldest first."""

    id: int
    name: str
    unit: str
    axis: str
    description: str
    starts: list[tuple[int, int]]


def readable(session: Session, run_id: str, name: str) -> Readable | None:
    """What one needs to know of a metric to read its rows."""
    query = (
        select(Metric.id, Metric.name, Metric.unit, Metric.axis, Metric.description, Attempt.number, Attempt.start_step)
        .join(Attempt, Attempt.run_id == Metric.run_id)
        .where(Metric.run_id == run_id, Metric.name == name)
        .order_by(Attempt.number)
    )
    rows = session.execute(query).all()
    return Readable(*rows[0][:5], starts=[(number, start) for *_, number, start in rows]) if rows else None


def detector_state(session: Session, run_id: str) -> bytes | None:
    """What the detectors remember of the run."""
    row = session.get(DetectorState, run_id)
    return None if row is None else row.body


def put_detector_state(session: Session, run_id: str, body: bytes) -> None:
    """Keeps what the detectors remember, in the transaction of the frames that they saw."""
    session.merge(DetectorState(run_id=run_id, body=body))
