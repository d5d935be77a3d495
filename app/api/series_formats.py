"""A series as JSON, CSV, Arrow or Parquet; a NaN stays a NaN and what was not measured is null in all of them.

CSV and Parquet are tables with a column for each name. Arrow holds matrices, as JSON does: ten thousand names are no
more columns than one, and each is there for numpy as it lies.
"""

import io
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import IO, Any

import arro3.io
import numpy as np
import numpy.typing as npt
import orjson
from arro3.core import (
    Array,
    ChunkedArray,
    DataType,
    Field,
    RecordBatch,
    RecordBatchReader,
    Schema,
    Table,
    fixed_size_list_array,
)

from app.series import Series
from gyrostat.wire import values as wire_values
from gyrostat.wire.values import Float32Array, is_absent

JSON, CSV = "application/json", "text/csv; charset=utf-8"
ARROW, PARQUET = "application/vnd.apache.arrow.file", "application/vnd.apache.parquet"
MEDIA_TYPES = {"json": JSON, "csv": CSV, "arrow": ARROW, "parquet": PARQUET}

_FIELDS = (
    Field("step", DataType.int64(), nullable=False),
    Field("metric", DataType.utf8(), nullable=False),
    Field("name", DataType.utf8(), nullable=False),
    Field("value", DataType.float32(), nullable=False),
)
POINTS = Schema(_FIELDS)
"""One row a measured value, as in exports; `name` is empty for scalars."""
SUMMARIES = Schema(
    (
        *_FIELDS[:-1],
        Field("value", DataType.float32()),
        Field("rows", DataType.uint32(), nullable=False),
        *(Field(name, DataType.float32(), nullable=False) for name in ("min", "mean", "max")),
    )
)
"""The same of a thinned run: of every so many `rows` the last one's value, which is null where only others have one."""


def document(series: Series, aggregate: Sequence[str]) -> dict[str, Any]:
    """The JSON object of a series, for `json_bytes`; beside it, of a bucketed one, the planes that `values` is not."""
    found: dict[str, Any] = {
        "metric": series.metric,
        "unit": series.unit,
        "axis": series.axis,
        "description": series.description,
        "names": [] if series.axis == "run" else series.names,
        "steps": series.steps,
        "values": json_rows(series.values),
        "level": series.level,
        "total_points": series.total_points,
    }
    if series.bucketed:
        found |= {name: json_rows(plane) for name, plane in _beside(series, aggregate).items()}
        assert series.nonfinite is not None, "it comes with the rows"
        found |= {"nonfinite": np.ascontiguousarray(series.nonfinite), "rows": series.rows}
    return found


def json_bytes(content: Any) -> bytes:
    """JSON of a document whose numbers are numpy arrays, float32 as their shortest decimals."""
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def json_rows(values: Float32Array) -> Any:
    """Rows for `json_bytes`: arrays where null is the only thing that is no number, else lists with the spellings."""
    special = ~np.isfinite(values) & ~is_absent(values)
    if not special.any():
        return np.ascontiguousarray(values)
    if values.ndim == 1:
        return wire_values.to_json(values)
    rows: list[bool] = np.asarray(special.any(axis=1)).tolist()
    return [
        wire_values.to_json(row) if odd else np.ascontiguousarray(row) for row, odd in zip(values, rows, strict=True)
    ]


def encoded(series: Series, kind: str, aggregate: Sequence[str]) -> bytes:
    """The series in the format `kind`, one of MEDIA_TYPES."""
    if kind == "json":
        return json_bytes(document(series, aggregate))
    file = io.BytesIO()
    write(matrices(series, aggregate) if kind == "arrow" else table(series, aggregate), kind, file)
    return file.getvalue()


def write(rows: Table | RecordBatchReader, kind: str, file: IO[bytes]) -> None:
    """Writes a table, or one that comes in pieces, as `csv`, `arrow` or `parquet`."""
    if kind == "csv":
        arro3.io.write_csv(rows, file)
    elif kind == "arrow":
        # not compressed: not every reader of Arrow undoes it, and it takes longer than all else
        arro3.io.write_ipc(rows, file, compression=None)
    else:
        arro3.io.write_parquet(rows, file, compression="zstd(3)")


def table(series: Series, aggregate: Sequence[str]) -> Table:
    """A column for the step and one for each name.

    Of a bucketed series there are `rows`, and for each name its aggregates and `nonfinite`, as `name:mean`; where a
    single aggregate was asked for, it has the plain names.
    """
    names = [series.metric] if series.axis == "run" else list(series.names)
    columns = {"step": Array.from_numpy(series.steps)}
    if series.bucketed and series.rows is not None and series.nonfinite is not None:
        columns["rows"] = Array.from_numpy(np.ascontiguousarray(series.rows, dtype=np.uint32))
        planes = {"": series.values} if len(aggregate) == 1 else _planes(series, aggregate)
        kept = {kind: _columns(plane) for kind, plane in planes.items()}
        counts = np.ascontiguousarray(series.nonfinite.T)
        for place, name in enumerate(names):
            for kind, plane in kept.items():
                columns[f"{name}:{kind}" if kind else name] = plane[place]
            columns[f"{name}:nonfinite"] = Array.from_numpy(counts[place])
    else:
        columns |= dict(zip(names, _columns(series.values), strict=True))
    return Table.from_arrays(list(columns.values()), names=list(columns), metadata=_metadata(series))


def matrices(series: Series, aggregate: Sequence[str]) -> Table:
    """A column for the step and one of lists for all names, which the metadata `names` has as a JSON array.

    `values`, and of a bucketed series what `document` has beside it, are lists of one number a name.
    """
    columns = {"step": Array.from_numpy(series.steps), "values": _matrix(series.values)}
    if series.bucketed and series.rows is not None and series.nonfinite is not None:
        columns |= {name: _matrix(plane) for name, plane in _beside(series, aggregate).items()}
        columns["nonfinite"] = _matrix(series.nonfinite)
        columns["rows"] = Array.from_numpy(np.ascontiguousarray(series.rows, dtype=np.uint32))
    names = [] if series.axis == "run" else list(series.names)
    metadata = _metadata(series) | {"names": orjson.dumps(names).decode()}
    return Table.from_arrays(list(columns.values()), names=list(columns), metadata=metadata)


def write_points(chunks: Iterator[Series], schema: Schema, kind: str, file: IO[bytes]) -> None:
    """Writes all of `points` as `csv` or `parquet`.

    Raises:
        what taking the next of the chunks raises; through the library it would come as a plain Exception.
    """
    failed: list[Exception] = []

    def told() -> Iterator[Series]:
        try:
            yield from chunks
        except Exception as error:
            failed.append(error)
            raise

    try:
        write(points(told(), schema), kind, file)
    except Exception:
        if failed:
            raise failed[0]  # noqa: B904 - with its own cause
        raise


def points(chunks: Iterator[Series], schema: Schema) -> RecordBatchReader:
    """Every measured value of the series as a row of POINTS or SUMMARIES, made while it is read; absent ones have none.

    Series for SUMMARIES must have their planes.
    """
    # an empty batch first: without any, a CSV file would not even have its header
    none = RecordBatch.from_arrays([Array([], kind) for kind in schema.types], schema=schema)
    return RecordBatchReader.from_batches(schema, chain([none], (_points(chunk, schema) for chunk in chunks)))


def _points(series: Series, schema: Schema) -> RecordBatch:
    measured = ~is_absent(series.values if series.minimum is None else series.minimum)
    rows, columns = np.nonzero(measured)
    metric = Array([series.metric], DataType.utf8()).take(_indices(np.zeros(len(rows), dtype=np.uint32)))
    name = Array(list(series.names), DataType.utf8()).take(_indices(columns.astype(np.uint32)))
    arrays = [Array.from_numpy(series.steps[rows]), metric, name, _columns(series.values[measured][:, None])[0]]
    if series.bucketed:
        planes = (plane for kind, plane in _planes(series, ("min", "mean", "max")).items())
        arrays.append(Array.from_numpy(np.ascontiguousarray(series.rows, dtype=np.uint32)[rows]))
        arrays += [Array.from_numpy(plane[measured]) for plane in planes]
    return RecordBatch.from_arrays(arrays, schema=schema)


def _indices(index: Any) -> Array:
    return Array.from_numpy(index)


def _planes(series: Series, aggregate: Sequence[str]) -> dict[str, Float32Array]:
    planes = {"min": series.minimum, "mean": series.mean, "max": series.maximum, "last": series.values}
    return {name: plane for name, plane in planes.items() if name in aggregate and plane is not None}


def _beside(series: Series, aggregate: Sequence[str]) -> dict[str, Float32Array]:
    """The planes asked for that `values` is not: that is the last row, or the one aggregate that was asked for."""
    planes = _planes(series, aggregate) if len(aggregate) > 1 else {}
    return {name: plane for name, plane in planes.items() if name != "last"}


def _metadata(series: Series) -> dict[str, str]:
    return {"metric": series.metric, "unit": series.unit, "axis": series.axis, "description": series.description}


def _matrix(plane: npt.NDArray[Any]) -> Array:
    """The rows of a (rows, width) plane as lists; null where nothing was measured."""
    return fixed_size_list_array(_numbers(np.ascontiguousarray(plane).reshape(-1)), plane.shape[1])


def _columns(values: Float32Array) -> list[Array]:
    """The columns of (rows, width) values; null where nothing was measured."""
    return [_numbers(column) for column in np.ascontiguousarray(values.T)]


def _numbers(numbers: npt.NDArray[Any]) -> Array:
    if numbers.dtype.kind != "f" or not (absent := is_absent(numbers)).any():
        return Array.from_numpy(numbers)
    # taken from the numbers and one null behind them: ten times as fast as a list of them
    with_null = ChunkedArray([Array.from_numpy(numbers), Array([None], DataType.float32())]).combine_chunks()
    return with_null.take(Array.from_numpy(np.where(absent, len(numbers), np.arange(len(numbers))).astype(np.uint32)))
