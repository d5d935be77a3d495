"""Consecutive frames of one layout, grouped into a batch: frames of rows become columns."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from gyrostat.stream.ledger import Count
from gyrostat.wire import codec
from gyrostat.wire.frame import MAX_STEP, Batch, Column
from gyrostat.wire.pending import PendingFrame
from gyrostat.wire.values import Float32Array

TARGET_BYTES = 256 << 10
"""A batch is sent when the next frame would make it larger; one frame that is larger by itself goes alone."""
MAX_FRAMES = 512


def size_of(frame: PendingFrame) -> Count:
    """One frame, and the points it says it holds."""
    return Count(1, sum(stop - start for start, stop in frame.slices.values()))


def fault(frame: PendingFrame, widths: Mapping[str, int] | None) -> str | None:
    """Why the backend would refuse this frame, and with it the whole batch; None for a sound one.

    `widths` are those of the metrics of the frame's layout; None where that layout was never declared.
    """
    if widths is None:
        return "layout_unknown"
    if not 0 <= frame.step <= MAX_STEP or not 0 <= frame.time <= 1e11 or not math.isfinite(frame.epoch):
        return "malformed"
    for metric, (start, stop) in frame.slices.items():
        if start < 0 or stop - start != widths.get(metric):
            return "malformed"
    return None


@dataclass
class _Rows:
    rows: list[int] = field(default_factory=list)
    values: list[Float32Array] = field(default_factory=list)


class Gathering:
    """A batch in the making."""

    def __init__(self) -> None:
        self.count = Count()
        self.num_bytes = 0
        self._frames: list[PendingFrame] = []
        self._columns: dict[str, _Rows] = {}

    def fits(self, frame: PendingFrame) -> bool:
        """Whether `frame` may follow the frames in this batch."""
        if not self._frames:
            return True
        newest = self._frames[-1]
        return (
            frame.layout == newest.layout
            and frame.recalled == newest.recalled
            and frame.step > newest.step
            and len(self._frames) < MAX_FRAMES
            and self.num_bytes + _bytes_of(frame) <= TARGET_BYTES
        )

    def add(self, frame: PendingFrame, vector: Float32Array) -> None:
        """Appends a frame whose values have been fetched.

        Raises:
            ValueError: `vector` is not a flat float32 vector that holds all slices of the frame.
        """
        longest = max((stop for _, stop in frame.slices.values()), default=0)
        if vector.ndim != 1 or vector.dtype != np.float32 or len(vector) < longest:
            raise ValueError(f"fetch gave {vector.dtype} of shape {vector.shape}; expected at least {longest} float32")
        for metric, (start, stop) in frame.slices.items():
            if stop > start:
                column = self._columns.setdefault(metric, _Rows())
                column.rows.append(len(self._frames))
                column.values.append(vector[start:stop].copy())  # a frame may be but a part of what was fetched
        self._frames.append(frame)
        self.count += size_of(frame)
        self.num_bytes += _bytes_of(frame)

    def encoded(self, *, producer: str, sequence: int, attempt: int) -> bytes:
        """The batch as a msgpack body."""
        return codec.encode_msgpack(
            Batch(
                producer=producer,
                sequence=sequence,
                attempt=attempt,
                layout=self._frames[0].layout,
                steps=np.array([frame.step for frame in self._frames], dtype=np.int64),
                times=np.array([frame.time for frame in self._frames], dtype=np.float64),
                epochs=np.array([frame.epoch for frame in self._frames], dtype=np.float64),
                columns=tuple(
                    Column(metric=metric, rows=np.array(column.rows, dtype=np.uint32), values=np.stack(column.values))
                    for metric, column in self._columns.items()
                ),
                recalled=self._frames[0].recalled,
            )
        )


def _bytes_of(frame: PendingFrame) -> int:
    return 24 + 4 * size_of(frame).points + sum(8 + len(metric) for metric in frame.slices)
