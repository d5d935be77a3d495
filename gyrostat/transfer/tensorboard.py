"""TensorBoard's event files: records of protobuf messages, each with its length and masked CRC-32C (TFRecord)."""

import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from tensorboardX.crc32c import crc32c
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary

from gyrostat.transfer import recording
from gyrostat.transfer.recording import POINTS, SECONDS, Recording

_LENGTH, _CHECK = struct.Struct("<Q"), struct.Struct("<I")
MAX_RECORD_BYTES = 64 << 20
"""A longer record is damage; pictures and graphs of event files stay well below."""


def folders(root: Path) -> list[Path]:
    """The folders below `root`, itself included, that hold event files: each is a run, as in TensorBoard.

    Raises:
        ValueError: there is none.
    """
    found = sorted({path.parent for path in root.rglob("*tfevents*") if path.is_file()})
    if not found:
        raise ValueError(f"{root} holds no TensorBoard event files (*tfevents*)")
    return found


def recording_of(folder: Path, *, name: str) -> Recording:
    """The run in a folder of event files: its scalars, under names that metrics may have.

    Raises:
        ValueError: it holds no scalars, or a damaged file.
    """
    points, declared = recording.renamed(read(folder))
    return Recording(points=ds.dataset(points), declared=declared, name=name, project="imported")


def read(folder: Path) -> pa.Table:
    """The scalars of a folder's event files as points, `metric` being the tag.

    Raises:
        ValueError: there are none, or a file is damaged other than at its end (a writer may have been cut off there).
    """
    files = sorted(path for path in folder.glob("*tfevents*") if path.is_file())
    steps: list[int] = []
    tags: list[str] = []
    values: list[float] = []
    times: dict[int, float] = {}
    for path in files:
        for event in _events(path):
            for value in event.summary.value:
                if (number := _scalar(value)) is not None:
                    steps.append(event.step)
                    tags.append(value.tag)
                    values.append(number)
                    times.setdefault(event.step, event.wall_time)
    if not steps:
        raise ValueError(f"the event files of {folder} hold no scalars; histograms and pictures are not imported")
    began = min(times.values())  # of the run, as far as the files tell
    steps += times
    tags += [SECONDS] * len(times)
    values += [at - began for at in times.values()]
    arrays = [
        pa.array(steps, pa.int64()),
        pa.array(tags),
        pa.array([""] * len(steps)),
        pa.array(np.array(values, dtype=np.float32)),
    ]
    return pa.table(arrays, schema=POINTS)


def _scalar(value: Summary.Value) -> float | None:
    """A summary's number: written as such, or as a tensor of one element, as newer writers do."""
    kind = value.WhichOneof("value")
    if kind == "simple_value":
        return float(value.simple_value)
    if kind != "tensor" or value.metadata.plugin_data.plugin_name not in ("scalars", ""):
        return None
    tensor = value.tensor
    if tensor.float_val or tensor.double_val:
        return float([*tensor.float_val, *tensor.double_val][0])
    dtype = {1: "<f4", 2: "<f8"}.get(tensor.dtype)
    if dtype is None or len(tensor.tensor_content) != np.dtype(dtype).itemsize:
        return None
    return float(np.frombuffer(tensor.tensor_content, dtype)[0])


def _events(path: Path) -> Iterator[Event]:
    with path.open("rb") as file:
        while head := file.read(_LENGTH.size + _CHECK.size):
            if len(head) < _LENGTH.size + _CHECK.size:
                return
            (length,) = _LENGTH.unpack_from(head)
            if _CHECK.unpack_from(head, _LENGTH.size)[0] != _masked(head[: _LENGTH.size]) or length > MAX_RECORD_BYTES:
                raise ValueError(f"{path} is damaged, or no event file: a record's length does not fit its checksum")
            body = file.read(length + _CHECK.size)
            if len(body) < length + _CHECK.size:
                return
            if _CHECK.unpack_from(body, length)[0] != _masked(body[:length]):
                raise ValueError(f"{path} is damaged: a record does not fit its checksum")
            yield Event.FromString(body[:length])


def write(points: ds.Dataset, file: IO[bytes], created: float) -> None:
    """Writes points as an event file: a scalar a point, tagged `metric` or `metric/name`, in order of their file.

    `created` is when the run was made (seconds since 1970): with the recorded seconds it gives each point's time.
    """
    seconds: dict[int, float] = {}
    for batch in points.to_batches(filter=ds.field("metric") == SECONDS):
        seconds |= dict(zip(batch["step"].to_pylist(), batch["value"].to_pylist(), strict=True))
    _record(file, Event(wall_time=time.time(), file_version="brain.Event:2"))
    for batch in points.to_batches(columns=POINTS.names, filter=ds.field("metric") != SECONDS):
        for step, metric, name, value in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            tag = f"{metric}/{name}" if name else metric
            summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
            _record(file, Event(wall_time=created + seconds.get(step, 0.0), step=step, summary=summary))


def _record(file: IO[bytes], event: Event) -> None:
    body = event.SerializeToString()
    head = _LENGTH.pack(len(body))
    file.write(head + _CHECK.pack(_masked(head)) + body + _CHECK.pack(_masked(body)))


def _masked(data: bytes) -> int:
    check: int = crc32c(data)
    return (((check >> 15) | (check << 17)) + 0xA282EAD8) & 0xFFFFFFFF
