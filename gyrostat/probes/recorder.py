"""The flight recorder: what was measured at the last steps and not sent, and what tells that it is worth sending.

The ring holds frames that are already on the host, or on their way to it in memory of the host: nothing of a device. A
frame that was kept is sent once, when something goes wrong after it, and only with what its step's own frame lacked.
"""

import math
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple, Protocol

from gyrostat.probes.packing import Packed
from gyrostat.wire.pending import PendingFrame
from gyrostat.wire.values import Float32Array

MAX_BYTES = 32 << 20
"""The ring holds no more than this, and then fewer steps."""

SIGNALS = ("loss.train", "gradient.global_norm")
"""What an incident is told by: scalars that nearly every training has."""


class Taker(Protocol):
    """Where frames go."""

    def emit(self, frame: PendingFrame) -> None:
        """Takes a step's values."""


class Ring:
    """The newest frames, at most `steps` of them and `MAX_BYTES` of values."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._frames: deque[tuple[PendingFrame, int]] = deque()
        self.num_bytes = 0

    def __len__(self) -> int:
        return len(self._frames)

    def keep(self, frame: PendingFrame, num_bytes: int) -> None:
        """The newest frame, whose values take up so many bytes; the oldest ones make room."""
        self._frames.append((frame, num_bytes))
        self.num_bytes += num_bytes
        while len(self._frames) > self._steps or self.num_bytes > MAX_BYTES:
            self._drop_oldest()

    def forget_before(self, step: int) -> None:
        """Drops what is older than `step`: a frame counts for the last so many steps, not for the last so many kept."""
        while self._frames and self._frames[0][0].step < step:
            self._drop_oldest()

    def clear(self) -> None:
        """Drops everything, as after a rollback."""
        self._frames.clear()
        self.num_bytes = 0

    def take(self) -> Iterator[PendingFrame]:
        """Everything, oldest first; the ring is empty afterwards."""
        while self._frames:
            yield self._drop_oldest()

    def _drop_oldest(self) -> PendingFrame:
        frame, num_bytes = self._frames.popleft()
        self.num_bytes -= num_bytes
        return frame


class Incident(NamedTuple):
    """A value beyond what the same scalar has been lately; `limit` is NaN where it is not finite."""

    metric: str
    value: float
    median: float
    limit: float

    def __str__(self) -> str:
        usual = f"after {self.median:.4g}" if math.isfinite(self.median) else "at once"
        limit = f" (limit {self.limit:.4g})" if math.isfinite(self.limit) else ""
        return f"{self.metric} was {self.value:.4g} {usual}{limit}; the flight recorder's steps before it are sent"


class Watch:
    """Tells when one scalar leaves its recent values: median and interquartile range, which few values can move.

    A value is an incident if it is not finite and the one before it was, or if it is above the larger of
    m + 8·s and m·(q₃/q₁)^(8/1.349), m the median of the last 64 values, q₁ and q₃ their quartiles, s = (q₃ − q₁)/1.349
    the standard deviation of a normal distribution with these; in both scales since losses near zero and norms scatter
    by factors. Where q₁ > 0 it must be twice m too. 16 values must be known; median and quartiles are worked out anew
    with every eighth value. After an incident no large value is one for 64 steps.
    """

    WINDOW = 64
    FEWEST = 16
    RENEWED = 8
    SIGMAS = 8.0
    LEAST_RISE = 2.0
    _NORMAL_IQR = 1.349

    def __init__(self, metric: str) -> None:
        self._metric = metric
        self._newest: deque[float] = deque(maxlen=self.WINDOW)
        self._count, self._quiet_to = 0, 0
        self._median, self._limit = math.nan, math.inf
        self._finite = True

    def judge(self, value: float) -> Incident | None:
        """Takes the next value; an incident, or None."""
        self._count += 1
        if not math.isfinite(value):
            first, self._finite = self._finite, False
            return Incident(self._metric, value, self._median, math.nan) if first else None
        self._finite = True
        incident = None
        if value > self._limit and self._count > self._quiet_to:
            incident = Incident(self._metric, value, self._median, self._limit)
            self._quiet_to = self._count + self.WINDOW
        self._newest.append(value)
        if self._count % self.RENEWED == 0 and len(self._newest) >= self.FEWEST:
            self._renew()
        return incident

    def _renew(self) -> None:
        ordered = sorted(self._newest)
        last = len(ordered) - 1
        low, self._median, high = (ordered[round(last * part)] for part in (0.25, 0.5, 0.75))
        self._limit = self._median + self.SIGMAS * (high - low) / self._NORMAL_IQR
        if low > 0:
            factor = min(high / low, 1e6) ** (self.SIGMAS / self._NORMAL_IQR)
            self._limit = max(self._limit, self._median * max(factor, self.LEAST_RISE))


class FlightRecorder:
    """Sends each step's frame but for what is only to be kept, and all that is kept when there is an incident.

    Values on a device are looked at when they have arrived: the incident is then told some steps late, and the steps
    between are still in the ring.

    Args:
        steps: how many of the last steps it keeps.
        sink: takes the frames.
    """

    def __init__(self, steps: int, sink: Taker) -> None:
        self._steps, self._sink = steps, sink
        self._ring = Ring(steps)
        self._watches = {metric: Watch(metric) for metric in SIGNALS}
        self._travelling: deque[Packed] = deque()
        self._newest = 0

    @property
    def steps(self) -> int:
        """How many of the last steps it keeps."""
        return self._steps

    @property
    def num_bytes(self) -> int:
        """Memory of the frames kept."""
        return self._ring.num_bytes

    def take(self, frame: PendingFrame, packed: Packed, kept: Collection[str]) -> Incident | None:
        """The frame of a step, of whose metrics `kept` are not due to be sent; tells of the first incident."""
        if frame.step <= self._newest:  # rolled back
            self._ring.clear()
        self._newest = frame.step
        self._ring.forget_before(frame.step - self._steps)
        incident = self._judged(frame, packed)
        if incident is not None:
            self.recall()
        elif kept:
            held = {metric: place for metric, place in frame.slices.items() if metric in kept}
            sent = {metric: place for metric, place in frame.slices.items() if metric not in kept}
            self._ring.keep(replace(frame, slices=held, recalled=True), packed.num_bytes)
            frame = replace(frame, slices=sent)
        if frame.slices:
            self._sink.emit(frame)
        return incident

    def recall(self) -> None:
        """Sends what is kept."""
        for frame in self._ring.take():
            self._sink.emit(frame)

    def _judged(self, frame: PendingFrame, packed: Packed) -> Incident | None:
        """The first incident among the values that have arrived."""
        if not self._travelling and packed.arrived():
            return self._judge(frame.slices, packed.fetch())
        self._travelling.append(packed)
        found = None
        while self._travelling and self._travelling[0].arrived():
            arrived = self._travelling.popleft()
            found = self._judge(arrived.slices, arrived.fetch()) or found
        return found

    def _judge(self, slices: Mapping[str, tuple[int, int]], values: Float32Array) -> Incident | None:
        found = None
        for metric, watch in self._watches.items():
            place = slices.get(metric)
            if place is None:
                continue
            value = float(values[place[0]])
            # a gradient that overflowed at a loss scale is float16's daily business: the step is left out
            overflow = slices.get("precision.overflow") if not math.isfinite(value) else None
            if overflow is None or values[overflow[0]] != 1:
                found = found or watch.judge(value)
        return found
