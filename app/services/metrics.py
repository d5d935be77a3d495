"""What a run measured: its catalogue of metrics, series as coarse as a chart needs them, the newest values."""

import difflib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from app.errors import Damaged, Invalid, NotFound
from app.series import PLANES, Rows, Series, bucketed, single_rows, starts_of_columns
from app.services.asked import AGGREGATES, MAX_VALUES, Asked
from app.services.columns import columns_of, matching, names_in
from app.storage import frames as frame_repository
from app.storage import metrics as metric_repository
from app.storage import reading
from app.storage import runs as run_repository
from app.storage.blocks import DamagedBlock
from app.storage.database import Session
from app.storage.remembered import MAX_CHART_BYTES, Charts
from gyrostat.wire.layout import Layout
from gyrostat.wire.values import Float32Array

FLOAT32_BYTES = 4
MAX_CHART_VALUES = MAX_CHART_BYTES // FLOAT32_BYTES
"""Rows times names of a chart that is read whole when a part of it is asked for again."""

_log = logging.getLogger(__name__)
_PLANE_OF = {"min": "minimum", "mean": "mean", "max": "maximum", "last": "final"}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One entry of a run's catalogue. Steps are those of its first and of its newest row, which has `width` values."""

    name: str
    unit: str
    axis: str
    description: str
    count: int
    first_step: int | None
    last_step: int | None
    width: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Latest:
    """The newest row of a metric."""

    name: str
    unit: str
    axis: str
    step: int
    names: Sequence[str]
    values: Float32Array


def catalogue(session: Session, run_id: str) -> list[Measured]:
    """Every metric that the run has values of, by name.

    Raises:
        NotFound: no such run.
    """
    found = metric_repository.described(session, run_id)
    if not found:
        _check_run(session, run_id)
    return [
        Measured(
            name=metric.name,
            unit=metric.unit,
            axis=metric.axis,
            description=metric.description,
            count=metric.count,
            first_step=metric.first_step,
            last_step=metric.last_step,
            width=max(1, (metric.size or 0) // FLOAT32_BYTES),
        )
        for metric in found
    ]


def revision(session: Session, run_id: str) -> int:
    """A number that rises whenever anything of the run changes.

    Raises:
        NotFound: no such run.
    """
    found = run_repository.revision(session, run_id)
    if found is None:
        raise _no_run(run_id)
    return found


def is_thinned(session: Session, run_id: str) -> bool:
    """Whether full blocks of its rows as measured are given up; False where there is no such run."""
    run = run_repository.get(session, run_id)
    return run is not None and run.thinned_at is not None


def layout(session: Session, run_id: str) -> tuple[int, Layout]:
    """The newest layout, and the attempt that sent it.

    Raises:
        NotFound: no such run, or it has sent none yet.
    """
    _check_run(session, run_id)
    newest = frame_repository.newest_layout(session, run_id)
    if newest is None:
        raise NotFound(f"run {run_id} has sent no layout yet; it comes before the first frames")
    return newest


def series(
    session: Session,
    run_id: str,
    metric: str,
    *,
    names: str | None = None,
    from_step: int | None = None,
    to_step: int | None = None,
    points: int | None = None,
    aggregate: Sequence[str] = AGGREGATES,
    max_values: int = MAX_VALUES,
    at_revision: int | None = None,
) -> Series:
    """A metric over steps, of all its columns, of the one named `names`, or of those that it matches as a glob.

    With `points`, rows are gathered into at most so many buckets, equally wide in steps; no spike and no non-finite
    value is lost. A bucket's `values` are its last row, or the one aggregate where a single one is asked for.
    Of a thinned run there are buckets without `points` too, of `rows` rows each: they are the finest that is kept.
    `at_revision` is the run's, where the caller has asked for it in this session.

    Raises:
        NotFound: no such run or metric.
        Invalid: a glob that matches nothing, an unknown aggregate, a bad range, more than `max_values` values.
        Damaged: it was stored, and cannot be read back.
    """
    asked = Asked(names, from_step, to_step, points, tuple(aggregate), max_values)
    asked.check()
    found = _at_hand(session, run_id, metric, asked, at_revision)
    return found or _read(session, run_id, _metric(session, run_id, metric), asked)


def _at_hand(session: Session, run_id: str, metric: str, asked: Asked, at_revision: int | None = None) -> Series | None:
    """Of what sessions that only read remember of the run as it is; None where that is not enough."""
    charts: Charts | None = session.info.get(reading.CHARTS)
    if charts is None or asked.points is None:
        return None
    if at_revision is None:
        at_revision = revision(session, run_id)
    question = (run_id, at_revision, metric, asked._replace(names=None, max_values=0))
    whole = charts.get(question, lambda: _whole(session, run_id, metric, asked))
    if whole is None or whole.values.size > asked.max_values:
        return None
    return _few(whole, asked.names)


def _whole(session: Session, run_id: str, metric: str, asked: Asked) -> Series | None:
    """The chart of all columns; None where they are too many to be kept."""
    found = _metric(session, run_id, metric)
    try:
        return _read(session, run_id, found, asked._replace(names=None, max_values=MAX_CHART_VALUES))
    except Invalid:  # as many as that are not read to draw one of them
        return None


def _few(whole: Series, names: str | None) -> Series:
    if names is None:
        return whole
    place_of = {name: place for place, name in enumerate(whole.names)}
    return whole.of_columns([place_of[name] for name in matching(place_of, names, whole.metric)])


def _read(session: Session, run_id: str, found: metric_repository.Readable, asked: Asked) -> Series:
    points, aggregate = asked.points, asked.aggregate
    last = reading.END if asked.to_step is None else asked.to_step
    shown = reading.extents(found.starts, asked.from_step or 0, last)
    held = reading.holdings(session, found.id, shown)
    columns = columns_of(session, run_id, found.name, {(each.attempt, each.layout) for each in held}, asked.names)
    level = reading.level_to_read(held, points, thinned=found.thinned)
    stored = sum(each.rows for each in held if each.level in (0, level))
    asked.check_size(run_id, found.name, stored, len(columns.names))
    # of raw rows, the other planes follow from the values, where they are needed at all
    planes = ("final",) if level == 0 else _planes(aggregate)
    places = reading.places(session, found.id, shown, level)
    with _undamaged(run_id, found.name):
        parts = reading.parts(session, places, shown, columns.places, planes)
        rows = reading.aligned(parts, columns.places, len(columns.names), planes)
    if level == 0 and (points is None or len(rows) <= points):
        return _series(found, columns.names, rows, None, 0, aggregate)
    if level == 0:
        rows = single_rows(rows.last, rows.planes["final"], _planes(aggregate))
    return _series(found, columns.names, rows, points, level, aggregate)


def finest_chunks(session: Session, run_id: str, metric: str, *, values_at_once: int = 1 << 18) -> Iterator[Series]:
    """Every row that is kept of a metric, some at a time in order of steps, for exports of any length.

    They are the rows as measured; of a thinned run, what `series` answers for all of it.
    """
    found = _metric(session, run_id, metric)
    level, planes = (1, PLANES) if found.thinned else (0, ("final",))
    shown = reading.extents(found.starts)
    spans = reading.spans(session, found.id, shown, level)
    columns = columns_of(session, run_id, metric, {(place.attempt, place.layout) for place, _, _ in spans}, None)
    for group, first, last in reading.windows(spans, values_at_once):
        within = [extent._replace(first=first, last=min(extent.last, last)) for extent in shown]
        with _undamaged(run_id, metric):
            parts = reading.parts(session, group, within, columns.places, planes)
            rows = reading.aligned(parts, columns.places, len(columns.names), planes)
        if len(rows):
            yield _series(found, columns.names, rows, None, level, AGGREGATES)


def latest(
    session: Session, run_id: str, metrics: Sequence[str] | None = None, *, axis: str | None = None
) -> list[Latest]:
    """The newest row of each metric, or of those named, or of those along one axis.

    Raises:
        NotFound: no such run, or one of the metrics has no values.
    """
    rows = [row for row in metric_repository.newest(session, run_id) if axis in (None, row.axis)]
    if metrics is not None:
        by_name = {row.name: row for row in rows}
        for name in metrics:
            if name not in by_name:
                raise _no_metric(session, run_id, name)
        rows = [by_name[name] for name in metrics]
    elif not rows:
        _check_run(session, run_id)
    layouts = frame_repository.layouts(session, run_id)
    return [
        Latest(
            name=row.name,
            unit=row.unit,
            axis=row.axis,
            step=row.step,
            names=names_in(layouts.get((row.attempt, row.layout)), row.name),
            values=reading.latest_values(row.values),
        )
        for row in rows
    ]


def query(
    session: Session, runs: Sequence[str], metrics: Sequence[str], points: int | None
) -> list[tuple[str, Series]]:
    """Series of several metrics of several runs; a run without one of the metrics is left out of it.

    Raises:
        NotFound: no such run, or none of them has the metric.
        Invalid: all of them together are more than `MAX_VALUES` values.
    """
    revisions = {run_id: revision(session, run_id) for run_id in runs}
    asked = Asked(None, None, None, points, AGGREGATES, MAX_VALUES)
    asked.check()
    answers: list[tuple[str, Series]] = []
    left = asked.max_values
    for metric in metrics:
        having = {run_id: metric_repository.readable(session, run_id, metric) for run_id in runs}
        if not any(having.values()):
            raise NotFound(
                f"none of the runs has values of {metric!r}; GET /v1/runs/{{id}}/metrics lists what they have"
            )
        for run_id, readable in having.items():
            if readable is None:
                continue
            part = asked._replace(max_values=left)
            found = _at_hand(session, run_id, metric, part, revisions[run_id]) or _read(session, run_id, readable, part)
            left -= found.values.size
            answers.append((run_id, found))
    return answers


@contextmanager
def _undamaged(run_id: str, metric: str) -> Iterator[None]:
    try:
        yield
    except DamagedBlock as error:
        _log.error("%s of run %s cannot be read: %s", metric, run_id, error)
        raise Damaged(
            f"what is stored of {metric} of run {run_id} is damaged: {error}. Everything else can be read; restore the "
            "database from a backup to have this back, and look at the disk"
        ) from error


def _check_run(session: Session, run_id: str) -> None:
    revision(session, run_id)


def _no_run(run_id: str) -> NotFound:
    return NotFound(f"there is no run {run_id!r}; GET /v1/runs lists those there are")


def _metric(session: Session, run_id: str, name: str) -> metric_repository.Readable:
    found = metric_repository.readable(session, run_id, name)
    if found is None:
        raise _no_metric(session, run_id, name)
    return found


def _no_metric(session: Session, run_id: str, name: str) -> NotFound:
    known = [entry.name for entry in catalogue(session, run_id)]
    close = difflib.get_close_matches(name, known, n=3)
    hint = f"; did you mean {', '.join(close)}?" if close else f"; GET /v1/runs/{run_id}/metrics lists what it has"
    return NotFound(f"run {run_id} has no values of {name!r}{hint}")


def _planes(aggregate: Sequence[str]) -> tuple[str, ...]:
    """What must be read for the aggregates; `values` are the last rows unless one other aggregate takes their place."""
    wanted = {*aggregate} if len(aggregate) == 1 else {*aggregate, "last"}
    beside = ("nonfinite", "finite") if "mean" in wanted else ("nonfinite",)
    return (*(_PLANE_OF[name] for name in AGGREGATES if name in wanted), *beside)


def _series(
    found: metric_repository.Readable,
    names: tuple[str, ...],
    rows: Rows,
    points: int | None,
    level: int,
    aggregate: Sequence[str],
) -> Series:
    """What was read as a series: in buckets where there are `points`, or where coarser levels were read."""
    summed = points is not None or level > 0
    few = rows if points is None else bucketed(rows, starts_of_columns(rows.last, points))
    planes = {name: few.planes.get(plane) for name, plane in _PLANE_OF.items()}
    values = planes[aggregate[0] if summed and len(aggregate) == 1 else "last"]
    assert values is not None, "it is among the planes that were read"
    plain = Series(
        metric=found.name,
        unit=found.unit,
        axis=found.axis,
        description=found.description,
        names=names,
        steps=few.last,
        values=values,
        level=level,
        total_points=int(rows.counts.sum(dtype=np.int64)),
    )
    if not summed:
        return plain
    return replace(
        plain,
        minimum=planes["min"],
        mean=planes["mean"],
        maximum=planes["max"],
        nonfinite=few.planes["nonfinite"],
        rows=few.counts,
    )
