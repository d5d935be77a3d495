"""Rows that arriving frames make: numbered messages, layouts, metrics with their newest values, level-0 blocks."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Text, and_, bindparam, cast, insert, select, update
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

# Every batch runs these: made once, and on the tables, because the ORM's part costs more than the database's.
_attempts, _producers, _layouts, _metrics, _blocks, _states = (
    model.metadata.tables[model.__tablename__] for model in (Attempt, Producer, LayoutRow, Metric, Block, DetectorState)
)
_THIS_PRODUCER = (
    _producers.c.run_id == bindparam("of_run"),
    _producers.c.attempt == bindparam("of_attempt"),
    _producers.c.name == bindparam("of_name"),
)
_READ_PRODUCER = (
    select(_producers.c.last, _producers.c.missing)
    .select_from(_attempts.outerjoin(_producers, and_(*_THIS_PRODUCER)))
    .where(_attempts.c.run_id == bindparam("of_run"), _attempts.c.number == bindparam("of_attempt"))
)
_ADD_PRODUCER = insert(_producers)
_MOVE_PRODUCER = update(_producers).where(*_THIS_PRODUCER).values(last=bindparam("to"), missing=bindparam("gaps"))
_READ_LAYOUT = select(cast(_layouts.c.document, Text)).where(
    _layouts.c.run_id == bindparam("of_run"),
    _layouts.c.attempt == bindparam("of_attempt"),
    _layouts.c.version == bindparam("of_version"),
)
_READ_METRICS = select(
    _metrics.c.name, _metrics.c.id, _metrics.c.count, _metrics.c.first_step, _metrics.c.last_step
).where(_metrics.c.run_id == bindparam("of_run"))
_ADD_METRICS = insert(_metrics)
_COUNT_ROWS = (
    update(_metrics)
    .where(_metrics.c.id == bindparam("of_id"))
    .values(count=bindparam("rows"), first_step=bindparam("first"))
)
_NEWEST_ROW = _COUNT_ROWS.values(
    {name: bindparam(f"new_{name}") for name in ("unit", "axis", "description", "last_step", "latest")}
    | {name: bindparam(f"new_{name}") for name in ("latest_layout", "latest_attempt")}
)
_ADD_BLOCKS = insert(_blocks)
_READ_STATE = select(_states.c.body).where(_states.c.run_id == bindparam("of_run"))
_ADD_STATE = insert(_states)
_CHANGE_STATE = update(_states).where(_states.c.run_id == bindparam("of_run")).values(body=bindparam("new_body"))


@dataclass(frozen=True)
class Acceptance:
    """Whether a numbered message was stored before, or comes late, and which numbers below the newest never arrived."""

    is_repeat: bool
    is_late: bool
    missing: list[tuple[int, int]]


def accept(session: Session, run_id: str, attempt: int, producer: str, sequence: int) -> Acceptance | None:
    """Notes that a message has come; None where there is no such attempt. One that fills a gap is as welcome as others.

    Raises:
        Conflict: it would leave more gaps than are remembered.
    """
    this = {"of_run": run_id, "of_attempt": attempt, "of_name": producer}
    connection = session.connection()
    row = connection.execute(_READ_PRODUCER, this).one_or_none()
    if row is None:
        return None
    is_new = row.last is None
    newest, ranges = (0, []) if is_new else row
    gaps = [(int(first), int(last)) for first, last in ranges]
    is_late = sequence < newest
    if sequence > newest:
        if sequence > newest + 1:
            gaps.append((newest + 1, sequence - 1))
        newest = sequence
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
    ranges = [list(gap) for gap in gaps]
    if is_new:
        added = {"run_id": run_id, "attempt": attempt, "name": producer, "last": newest, "missing": ranges}
        connection.execute(_ADD_PRODUCER, added)
    else:
        connection.execute(_MOVE_PRODUCER, {**this, "to": newest, "gaps": ranges})
    return Acceptance(is_repeat=False, is_late=is_late, missing=gaps)


def layout(session: Session, run_id: str, attempt: int, version: int) -> Layout | None:
    """One version of an attempt's layout; shared, so nothing in it may be changed."""
    place = {"of_run": run_id, "of_attempt": attempt, "of_version": version}
    text = session.connection().scalar(_READ_LAYOUT, place)
    return None if text is None else _parsed(text)


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
    keys = session.connection().execute(_LAYOUT_KEYS, {"run": run_id})
    return {(attempt, version): _kept_layout(session, known, (run_id, attempt, version)) for attempt, version in keys}


_LAYOUT_KEYS = (
    select(LayoutRow.attempt, LayoutRow.version)
    .where(LayoutRow.run_id == bindparam("run"))
    .order_by(LayoutRow.attempt, LayoutRow.version)
)


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


@lru_cache(maxsize=128)
def _parsed(text: str) -> Layout:
    # by its text, not by its place: what is read is always what is stored
    return _read(json.loads(text))


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
    connection = session.connection()
    known = _metrics_by_name(session, run_id)
    new = [column.metric for column in arrival.columns if column.metric not in known]
    if new:
        added = [{**_description(arrival.declared[name]), "name": name, "run_id": run_id, "count": 0} for name in new]
        connection.execute(_ADD_METRICS, added)
        known = _metrics_by_name(session, run_id)
    bodies, counted, newest = [], [], []
    for column in arrival.columns:
        steps = arrival.steps[column.rows]
        metric = known[column.metric]
        bodies.append(_block(metric.id, arrival, steps, column.values))
        change = _counted(metric, steps)
        if arrival.is_newest or metric.last_step is None:
            newest.append(change | _newest(arrival, column.metric, steps, column.values))
        else:
            counted.append(change)
    for statement, rows in ((_ADD_BLOCKS, bodies), (_COUNT_ROWS, counted), (_NEWEST_ROW, newest)):
        if rows:
            connection.execute(statement, rows)


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


def _metrics_by_name(session: Session, run_id: str) -> dict[str, Any]:
    return {row.name: row for row in session.connection().execute(_READ_METRICS, {"of_run": run_id})}


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
        "body": blocks.encode_arrived(steps, values),
    }


def _counted(metric: Any, steps: npt.NDArray[np.int64]) -> dict[str, Any]:
    first = int(steps[0])
    return {
        "of_id": metric.id,
        "rows": metric.count + len(steps),
        "first": first if metric.first_step is None else min(first, metric.first_step),
    }


def _newest(arrival: Arrival, name: str, steps: npt.NDArray[np.int64], values: Float32Array) -> dict[str, Any]:
    change = {
        **_description(arrival.declared[name]),
        "last_step": int(steps[-1]),
        "latest": values[-1].astype("<f4").tobytes(),
        "latest_layout": arrival.layout,
        "latest_attempt": arrival.attempt,
    }
    return {f"new_{key}": value for key, value in change.items()}


def detector_state(session: Session, run_id: str) -> bytes | None:
    """What the detectors remember of the run."""
    body: bytes | None = session.connection().scalar(_READ_STATE, {"of_run": run_id})
    return body


def put_detector_state(session: Session, run_id: str, body: bytes) -> None:
    """Keeps what the detectors remember, in the transaction of the frames that they saw."""
    connection = session.connection()
    if not connection.execute(_CHANGE_STATE, {"of_run": run_id, "new_body": body}).rowcount:
        connection.execute(_ADD_STATE, {"run_id": run_id, "body": body})
