"""`/v1/runs/{id}/layout|metrics|latest|export` and `/v1/query`: what was measured, at the width that a chart needs."""

import tempfile
from collections.abc import Callable, Hashable, Iterator, Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Header, Path, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from app.api import series_formats
from app.deps import READ, DatabaseDep, MemoryDep, RunDep, RunId
from app.series import Series
from app.services import metrics as metric_service
from app.services.asked import AGGREGATES, MAX_POINTS
from app.services.memory import Memory
from app.storage.database import Database, Session
from gyrostat.wire.layout import MetricDeclaration

router = APIRouter(prefix="/v1", tags=["metrics"], dependencies=[READ])

COPY_BYTES = 1 << 20
Number = float | Literal["NaN", "Infinity", "-Infinity"] | None


class View(BaseModel):
    """Base of what is answered here; only described by models, because numpy arrays are written as they are."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class LayoutView(View):
    """What the columns of the newest frames mean."""

    attempt: int
    version: int
    axes: dict[str, list[str]] = Field(examples=[{"module": ["conv1", "fc"]}])
    metrics: list[MetricDeclaration]


class MetricView(View):
    """One entry of a run's catalogue."""

    name: str = Field(examples=["gradient.norm"])
    unit: str = Field(examples=["1"])
    axis: str = Field(examples=["parameter"])
    description: str
    count: int
    """Rows stored, of all attempts."""
    first_step: int | None
    last_step: int | None
    """Step of the newest row."""


class MetricsView(View):
    """A run's catalogue of metrics."""

    items: list[MetricView]
    next: None = None


class SeriesView(View):
    """A metric over steps. A row of a bucketed series stands for `rows` stored ones; `steps` names the last of them.

    Where rows as measured were given up (`thinned_at` of the run), so is a series that was asked for without `points`.
    """

    metric: str = Field(examples=["gradient.norm"])
    unit: str = Field(examples=["1"])
    axis: str = Field(examples=["parameter"])
    description: str
    names: list[str] = Field(examples=[["fc.weight", "fc.bias"]])
    """Of the columns; empty for a scalar, whose rows have one value."""
    steps: list[int] = Field(examples=[[1, 2]])
    values: list[list[Number]] = Field(examples=[[[0.5, "NaN"], [0.25, None]]])
    """Null was not measured. Of a bucket: its last row, or the one aggregate asked for."""
    level: int
    """Of the pyramid that was read; 0 is raw."""
    total_points: int = Field(examples=[2])
    """Stored rows in the range."""
    min: list[list[Number]] | None = None
    """Over the finite values of each bucket; of several aggregates, since a single one is `values`."""
    mean: list[list[Number]] | None = None
    max: list[list[Number]] | None = None
    nonfinite: list[list[int]] | None = None
    """How many NaN and infinities each bucket holds."""
    rows: list[int] | None = None


class LatestView(View):
    """The newest row of a metric."""

    name: str
    unit: str
    axis: str
    step: int
    names: list[str]
    values: list[Number]


class LatestListView(View):
    """The newest rows of a run's metrics."""

    items: list[LatestView]
    next: None = None


class RunSeriesView(SeriesView):
    """A series of one of several runs."""

    run: str


class QueryView(View):
    """Series of several runs and metrics."""

    items: list[RunSeriesView]
    next: None = None


class QueryRequest(BaseModel):
    """Which metrics of which runs."""

    model_config = ConfigDict(extra="forbid", strict=True)
    runs: list[str] = Field(min_length=1, max_length=50, examples=[["5f0c2f9d3b1a4e77"]])
    metrics: list[str] = Field(min_length=1, max_length=50, examples=[["loss.train"]])
    points: int | None = Field(default=1000, ge=1, le=MAX_POINTS)


class Format(StrEnum):
    """How a series is written."""

    JSON = "json"
    CSV = "csv"
    ARROW = "arrow"
    PARQUET = "parquet"


class ExportFormat(StrEnum):
    """How an export is written."""

    PARQUET = "parquet"
    CSV = "csv"


MetricName = Annotated[str, Path(description="Name of the metric", max_length=96, examples=["gradient.norm"])]
IfNoneMatch = Annotated[str | None, Header(description="`ETag` of the answer that is at hand", max_length=1000)]
Step = Annotated[int | None, Query(ge=0, le=2**53)]
_NOT_MODIFIED: dict[int | str, dict[str, Any]] = {304: {"description": "The answer at hand is still right"}}
_BINARY = {"schema": {"type": "string", "format": "binary"}}


@router.get("/runs/{run_id}/layout", summary="Get the newest layout")
def get_layout(run_id: RunId, database: DatabaseDep) -> LayoutView:
    """The names along each axis, and the metrics that the run declares, measured or not yet."""
    with database.read() as session:
        attempt, layout = metric_service.layout(session, run_id)
    return LayoutView(attempt=attempt, version=layout.version, axes={**layout.axes}, metrics=layout.metrics)


@router.get("/runs/{run_id}/metrics", response_model=MetricsView, responses=_NOT_MODIFIED, summary="List metrics")
async def list_metrics(
    run_id: RunId, database: DatabaseDep, memory: MemoryDep, if_none_match: IfNoneMatch = None
) -> Response:
    """Everything that the run has values of."""
    return await _polled(
        database, memory, run_id, if_none_match, "metrics", lambda session: _catalogue(session, run_id)
    )


@router.get(
    "/runs/{run_id}/metrics/{metric}",
    response_model=SeriesView,
    responses={
        200: {
            "content": {
                "text/csv": {"schema": {"type": "string"}, "example": "step,fc.weight\n1,0.5\n2,NaN\n"},
                series_formats.ARROW: _BINARY,
                series_formats.PARQUET: _BINARY,
            }
        },
        **_NOT_MODIFIED,
    },
    summary="Read a metric",
)
def get_series(
    run_id: RunId,
    metric: MetricName,
    database: DatabaseDep,
    names: Annotated[str | None, Query(max_length=256, description="A column's name, or a glob over all")] = None,
    from_step: Annotated[Step, Query(alias="from", description="First step, included")] = None,
    to_step: Annotated[Step, Query(alias="to", description="Last step, included")] = None,
    points: Annotated[
        int | None, Query(ge=1, le=MAX_POINTS, description="At most so many rows; all where left out")
    ] = None,
    aggregate: Annotated[
        str, Query(max_length=40, description="Of min, mean, max, last, with commas; a single one becomes `values`")
    ] = "min,mean,max,last",
    format: Annotated[Format, Query(description="How it is written")] = Format.JSON,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The metric over steps: complete, or in `points` buckets that hide neither a spike nor a non-finite value.

    Complete is, of a run that is thinned (`thinned_at`), what is kept: buckets of 16 rows, the newest rows beside them.
    CSV and Parquet have a column for each name. Arrow has the matrices of JSON, as columns of lists of one length; the
    names are a JSON array in the schema's metadata, `names`, beside `metric`, `unit`, `axis` and `description`.
    """
    wanted = [name.strip() for name in aggregate.split(",") if name.strip()] or list(AGGREGATES)

    def answer(session: Session, revision: int) -> bytes:
        series = metric_service.series(
            session,
            run_id,
            metric,
            names=names,
            from_step=from_step,
            to_step=to_step,
            points=points,
            aggregate=wanted,
            at_revision=revision,
        )
        return series_formats.encoded(series, format, wanted)

    response = _unless_known(database, run_id, if_none_match, answer)
    if format != Format.JSON and response.status_code == 200:
        response.headers["Content-Type"] = series_formats.MEDIA_TYPES[format]
        response.headers["Content-Disposition"] = _attachment(f"{run_id}-{metric}.{format}")
    return response


@router.get(
    "/runs/{run_id}/latest", response_model=LatestListView, responses=_NOT_MODIFIED, summary="Get newest values"
)
async def get_latest(
    run_id: RunId,
    database: DatabaseDep,
    memory: MemoryDep,
    metric: Annotated[list[str] | None, Query(max_length=500, description="Only these metrics")] = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The newest row of each metric."""
    wanted = None if metric is None else tuple(metric)
    asked = ("latest", wanted)
    return await _polled(
        database, memory, run_id, if_none_match, asked, lambda session: _latest(session, run_id, wanted)
    )


@router.get(
    "/runs/{run_id}/export",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {
                series_formats.PARQUET: _BINARY,
                "text/csv": {"schema": {"type": "string"}, "example": "step,metric,name,value\n1,loss.train,,2.31\n"},
            }
        }
    },
    summary="Export everything",
)
def export(
    run_id: RunDep,
    database: DatabaseDep,
    format: Annotated[ExportFormat, Query(description="How it is written")] = ExportFormat.PARQUET,
) -> StreamingResponse:
    """Every value that the run shows, one a row: step, metric, name (empty for scalars), value. Nothing is left out.

    Of a run that is thinned (`thinned_at`) there are further columns: `value` is that of the last of `rows` stored
    ones, `min`, `mean` and `max` are over the finite values of all of them.
    """
    # The file is made before the answer begins: a slow reader then holds no database snapshot, and the length is known,
    # so that a download that breaks off is noticed.
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the answer
    try:
        with database.read() as session:
            schema = series_formats.SUMMARIES if metric_service.is_thinned(session, run_id) else series_formats.POINTS
            series_formats.write_points(_all_rows(session, run_id), schema, format, file)
        size = file.tell()
        file.seek(0)
    except BaseException:
        file.close()
        raise

    def copied() -> Iterator[bytes]:
        with file:
            while chunk := file.read(COPY_BYTES):
                yield chunk

    headers = {"Content-Disposition": _attachment(f"{run_id}.{format}"), "Content-Length": str(size)}
    return StreamingResponse(copied(), media_type=series_formats.MEDIA_TYPES[format], headers=headers)


@router.post("/query", response_model=QueryView, summary="Compare runs")
def query(body: QueryRequest, database: DatabaseDep) -> Response:
    """Several metrics of several runs; a run that lacks a metric is left out of it.

    To draw over time or epochs instead of steps, ask for `progress.seconds` or `progress.epoch` as well.
    """
    with database.read() as session:
        found = metric_service.query(session, body.runs, body.metrics, body.points)
    items = [{"run": run, **series_formats.document(series, AGGREGATES)} for run, series in found]
    return Response(series_formats.json_bytes({"items": items, "next": None}), media_type="application/json")


def _unless_known(
    database: Database, run_id: str, if_none_match: str | None, answer: Callable[[Session, int], bytes]
) -> Response:
    """The answer with the run's revision as its tag, or 304 where the asker has that one."""
    with database.read() as session:
        revision = metric_service.revision(session, run_id)
        return _not_modified(run_id, revision, if_none_match) or Response(
            answer(session, revision), media_type="application/json", headers=_headers(run_id, revision)
        )


async def _polled(
    database: Database,
    memory: Memory,
    run_id: str,
    if_none_match: str | None,
    asked: Hashable,
    make: Callable[[Session], bytes],
) -> Response:
    """The answer to what many ask again and again: from memory while the run is as it was, without another thread."""
    key, revision = (run_id, asked), database.revision_at_once(run_id)
    if revision is not None:
        if (unchanged := _not_modified(run_id, revision, if_none_match)) is not None:
            return unchanged
        if (known := memory.at_hand(key, revision)) is not None:
            return Response(known, media_type="application/json", headers=_headers(run_id, revision))

    def answer(session: Session, revision: int) -> bytes:
        return memory.get(key, revision, lambda: make(session))

    return await run_in_threadpool(_unless_known, database, run_id, if_none_match, answer)


def _not_modified(run_id: str, revision: int, if_none_match: str | None) -> Response | None:
    headers = _headers(run_id, revision)
    if if_none_match is None or headers["ETag"] not in [known.strip() for known in if_none_match.split(",")]:
        return None
    return Response(status_code=304, headers=headers)


def _headers(run_id: str, revision: int) -> dict[str, str]:
    return {"ETag": f'W/"{run_id}-{revision}"', "Cache-Control": "no-cache"}


def _catalogue(session: Session, run_id: str) -> bytes:
    found = metric_service.catalogue(session, run_id)
    items = [{name: getattr(entry, name) for name in MetricView.model_fields} for entry in found]
    return series_formats.json_bytes({"items": items, "next": None})


def _latest(session: Session, run_id: str, wanted: Sequence[str] | None) -> bytes:
    items = [
        {
            "name": latest.name,
            "unit": latest.unit,
            "axis": latest.axis,
            "step": latest.step,
            "names": [] if latest.axis == "run" else latest.names,
            "values": series_formats.json_rows(latest.values),
        }
        for latest in metric_service.latest(session, run_id, wanted)
    ]
    return series_formats.json_bytes({"items": items, "next": None})


def _all_rows(session: Session, run_id: str) -> Iterator[Series]:
    for entry in metric_service.catalogue(session, run_id):
        yield from metric_service.finest_chunks(session, run_id, entry.name)


def _attachment(name: str) -> str:
    return f"attachment; filename*=UTF-8''{quote(name, safe='')}"
