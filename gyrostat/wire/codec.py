"""Batches as bytes: columnar msgpack with raw little-endian columns for speed, columnar JSON for ease.

msgpack (`application/vnd.gyrostat.frames+msgpack`), a map:
`producer` str, `sequence` int, `attempt` int, `layout` int, `steps` bin (int64), `times` bin (float64),
`epochs` bin (float64), `columns` array of `{metric: str, rows: bin (uint32), values: bin (float32, row-major)}`, and
`recalled` bool, left out where it is false.
The width of a column is the length of its values over the length of its rows.

JSON (`application/json`) has the same keys with plain arrays; `values` is a list of rows, a row is a list or, for
scalars, a number; `rows` and `epochs` may be left out (every frame; zero). Non-finite numbers are the strings
"NaN", "Infinity" and "-Infinity"; null means "not measured".
"""

import re
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from gyrostat.wire import frame, values
from gyrostat.wire.frame import PRODUCER_PATTERN, Batch, Column
from gyrostat.wire.layout import MAX_LAYOUT_VERSION

MSGPACK = "application/vnd.gyrostat.frames+msgpack"
JSON = "application/json"


class _PackedColumn(msgspec.Struct, forbid_unknown_fields=True):
    metric: str
    rows: bytes
    values: bytes


class _Packed(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    producer: str
    sequence: int
    attempt: int
    layout: int
    steps: bytes
    times: bytes
    epochs: bytes
    columns: list[_PackedColumn]
    recalled: bool = False


_Value = float | str | None


class _ListedColumn(msgspec.Struct, forbid_unknown_fields=True):
    metric: str
    values: list[_Value | list[_Value]]
    rows: list[int] | None = None


class _Listed(msgspec.Struct, forbid_unknown_fields=True):
    producer: str
    sequence: int
    attempt: int
    layout: int
    steps: list[int]
    times: list[float]
    columns: list[_ListedColumn]
    epochs: list[float] | None = None
    recalled: bool = False


PRODUCER = re.compile(PRODUCER_PATTERN)

_pack = msgspec.msgpack.Encoder()
_unpack = msgspec.msgpack.Decoder(_Packed)
_parse = msgspec.json.Decoder(_Listed)


def encode_msgpack(batch: Batch) -> bytes:
    """The binary form of a batch."""
    return _pack.encode(
        _Packed(
            producer=batch.producer,
            sequence=batch.sequence,
            attempt=batch.attempt,
            layout=batch.layout,
            steps=batch.steps.astype("<i8").tobytes(),
            times=batch.times.astype("<f8").tobytes(),
            epochs=batch.epochs.astype("<f8").tobytes(),
            columns=[
                _PackedColumn(
                    metric=column.metric,
                    rows=column.rows.astype("<u4").tobytes(),
                    values=np.ascontiguousarray(column.values, dtype="<f4").tobytes(),
                )
                for column in batch.columns
            ],
            recalled=batch.recalled,
        )
    )


def decode_msgpack(body: bytes) -> Batch:
    """The batch in a binary body; arrays are read-only views of it.

    Raises:
        ValueError: the body is not such a map, or the batch does not hold together.
    """
    try:
        packed = _unpack.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"the body is not a msgpack batch: {error}") from error
    return _checked(
        packed,
        steps=_column(packed.steps, "<i8", "steps"),
        times=_column(packed.times, "<f8", "times"),
        epochs=_column(packed.epochs, "<f8", "epochs"),
        columns=tuple(_packed_column(column) for column in packed.columns),
    )


def encode_json(batch: Batch) -> bytes:
    """The JSON form of a batch."""
    return msgspec.json.encode(
        {
            "producer": batch.producer,
            "sequence": batch.sequence,
            "attempt": batch.attempt,
            "layout": batch.layout,
            "steps": batch.steps.tolist(),
            "times": batch.times.tolist(),
            "epochs": batch.epochs.tolist(),
            "columns": [
                {"metric": column.metric, "rows": column.rows.tolist(), "values": values.to_json(column.values)}
                for column in batch.columns
            ],
            **({"recalled": True} if batch.recalled else {}),
        }
    )


def decode_json(body: bytes) -> Batch:
    """The batch in a JSON body.

    Raises:
        ValueError: the body is not such an object, or the batch does not hold together.
    """
    try:
        listed = _parse.decode(body)
        steps = np.asarray(listed.steps, dtype=np.int64)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise ValueError(f"the body is not a JSON batch: {error}") from error
    times = np.asarray(listed.times, dtype=np.float64)
    epochs = np.zeros(len(steps)) if listed.epochs is None else np.asarray(listed.epochs, dtype=np.float64)
    columns = tuple(_listed_column(column, len(steps)) for column in listed.columns)
    return _checked(listed, steps=steps, times=times, epochs=epochs, columns=columns)


def _checked(
    message: _Packed | _Listed,
    *,
    steps: npt.NDArray[np.int64],
    times: npt.NDArray[np.float64],
    epochs: npt.NDArray[np.float64],
    columns: tuple[Column, ...],
) -> Batch:
    if not PRODUCER.fullmatch(message.producer):
        raise ValueError(f"producer must be 1-64 of A-Z, a-z, 0-9 and ._:-, got {message.producer[:80]!r}")
    limits = {"sequence": frame.MAX_STEP, "attempt": frame.MAX_ATTEMPT, "layout": MAX_LAYOUT_VERSION}
    for name, limit in limits.items():
        if not 1 <= getattr(message, name) <= limit:
            raise ValueError(f"{name} must lie in 1..{limit}, got {getattr(message, name)}")
    batch = Batch(
        producer=message.producer,
        sequence=message.sequence,
        attempt=message.attempt,
        layout=message.layout,
        steps=steps,
        times=times,
        epochs=epochs,
        columns=columns,
        recalled=message.recalled,
    )
    frame.check(batch)
    return batch


def _column(raw: bytes, kind: str, name: str) -> npt.NDArray[Any]:
    if len(raw) % np.dtype(kind).itemsize:
        raise ValueError(f"{name} has {len(raw)} bytes, which is no whole number of {np.dtype(kind).name} values")
    return np.frombuffer(raw, dtype=kind)


def _packed_column(packed: _PackedColumn) -> Column:
    rows = _column(packed.rows, "<u4", f"rows of {packed.metric!r}")
    flat = _column(packed.values, "<f4", f"values of {packed.metric!r}")
    if not len(rows) or len(flat) % len(rows):
        raise ValueError(f"column {packed.metric!r} has {len(flat)} values for {len(rows)} rows; every row is as long")
    return Column(metric=packed.metric, rows=rows, values=flat.reshape(len(rows), -1))


def _listed_column(listed: _ListedColumn, frames: int) -> Column:
    rows = listed.rows if listed.rows is not None else list(range(frames))
    if any(not 0 <= row < frames for row in rows):
        raise ValueError(f"column {listed.metric!r}: rows must lie in 0..{frames - 1}")
    try:
        array = values.from_json(listed.values)
    except ValueError as error:
        raise ValueError(f"values of {listed.metric!r}: {error}") from error
    if array.ndim == 1:
        array = array[:, None]
    return Column(metric=listed.metric, rows=np.asarray(rows, dtype=np.uint32), values=array)
