"""A training process for the fault tests: emits frames through the real stream, and writes down each before it does.

`python -m tests.faults.producer PLAN.json`. It may be killed at any time and started again on its folder.
"""

import random
import sys
import time
from pathlib import Path

import msgspec
import numpy as np

from gyrostat.stream.attached import ATTEMPT, Attached, AttachedTransport
from gyrostat.stream.ledger import Count, Ledger
from gyrostat.stream.segments import Kind, Record
from gyrostat.stream.spool import Spool
from gyrostat.stream.stream import Stream
from gyrostat.stream.transport import HttpTransport, Permanent, Transient
from gyrostat.wire import codec
from gyrostat.wire.messages import Acknowledgement, EventsMessage
from gyrostat.wire.pending import PendingFrame
from tests.faults import measured
from tests.faults.journal import Acknowledged, Closed, Declared, Emitted, Entry, Journal, Refused, Told


class Plan(msgspec.Struct, frozen=True):
    """What one incarnation does.

    Attributes:
        first, last: steps that it emits, `burst` of them at a time with `pause` seconds after each.
        width: names of the vector metric, until its layout changes at step `relayout` to one name more.
        clock: by how many seconds the process's clock is wrong from which step on.
        shuffled: emits everything to the disk first, then sends the messages out of order, and many of them twice.
        limit_bytes: of the spool.
    """

    folder: str
    journal: str
    server: str
    seed: int
    first: int
    last: int
    burst: int
    pause: float
    width: int
    relayout: int
    flood: bool
    clock: list[tuple[int, float]]
    shuffled: bool
    limit_bytes: int
    flush_seconds: float
    timeout: float


class Noting:
    """A transport that writes down what was acknowledged, and what was refused for good."""

    def __init__(self, inner: AttachedTransport, journal: Journal) -> None:
        self._inner, self._journal = inner, journal

    def send(self, run: str, record: Record) -> Acknowledgement:
        try:
            answer = self._inner.send(run, record)
        except Permanent as error:
            self._journal.note(Refused(record.sequence, f"{type(error).__name__}: {error}"))
            raise
        self._journal.note(Acknowledged(answer.sequence, answer.status, _steps(record), _numbers(record)))
        return answer

    def close(self) -> None:
        self._inner.close()


def _steps(record: Record) -> list[int]:
    return codec.decode_msgpack(record.payload).steps.tolist() if record.kind is Kind.FRAMES else []


def _numbers(record: Record) -> list[int]:
    if record.kind is not Kind.EVENTS:
        return []
    events = EventsMessage.model_validate_json(record.payload).events
    return [int(event.data["number"]) for event in events if event.kind == "log"]  # type: ignore[arg-type]


class Producer:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._journal = Journal(Path(plan.journal))
        inner = AttachedTransport(Attached.read(Path(plan.folder)), HttpTransport(plan.server, timeout=plan.timeout))
        self._transport = Noting(inner, self._journal)
        self._stream = Stream(
            spool=self._spool(),
            transport=None if plan.shuffled else self._transport,
            run=Path(plan.folder).name,
            attempt=ATTEMPT,
            flush_seconds=plan.flush_seconds,
        )
        self._version = 0

    def run(self) -> None:
        for start in range(self._plan.first, self._plan.last + 1, self._plan.burst):
            self._emit(range(start, min(start + self._plan.burst, self._plan.last + 1)))
            time.sleep(self._plan.pause)
        ledger = self._stream.close(self._plan.timeout)
        if self._plan.shuffled:
            self._send_shuffled()
        self._journal.note(_closed(ledger))

    def _emit(self, steps: range) -> None:
        self._declare(steps[0])
        entries: list[Entry] = []
        frames = []
        for step in steps:
            vector = measured.values(self._plan.seed, step, self._width, flood=self._plan.flood)
            slices = {measured.LOSS: (0, 1)}
            if step % 3:
                slices[measured.NORM] = (1, len(vector))
            bits = {metric: vector[start:stop].tobytes() for metric, (start, stop) in slices.items()}
            at, epoch = self._now(step), step / 7
            entries.append(Emitted(step, at, epoch, self._version, bits))
            frames.append(
                PendingFrame(
                    step=step, time=at, epoch=epoch, layout=self._version, slices=slices, fetch=lambda v=vector: v
                )
            )
        self._journal.note(*entries, Told(steps[0]))
        for frame in frames:
            self._stream.emit(frame)
        self._stream.event("log", steps[-1], {"number": steps[0], "text": "läuft 🏃"})

    def _declare(self, step: int) -> None:
        version = 2 if step >= self._plan.relayout else 1
        self._width = self._plan.width + (version == 2)
        if version != self._version:
            self._version = version
            self._journal.note(Declared(version, measured.names(self._width, version)))
            self._stream.layout(measured.layout(self._width, version))

    def _now(self, step: int) -> float:
        return time.time() + next((wrong for first, wrong in reversed(self._plan.clock) if step >= first), 0.0)

    def _send_shuffled(self) -> None:
        source = random.Random(self._plan.seed)
        spool = self._spool()
        records = list(spool.unsent())
        layouts = [record for record in records if record.kind is Kind.LAYOUT]
        others = [record for record in records if record.kind is not Kind.LAYOUT]
        others += source.sample(others, len(others) // 3)
        source.shuffle(others)
        for record in [*layouts, *others]:
            self._send_until_acknowledged(record)
        spool.settle(spool.last_sequence)
        spool.close()
        self._transport.close()

    def _send_until_acknowledged(self, record: Record) -> None:
        while True:
            try:
                self._transport.send("", record)
                return
            except Transient:
                time.sleep(0.1)

    def _spool(self) -> Spool:
        return Spool(Path(self._plan.folder), limit_bytes=self._plan.limit_bytes, segment_bytes=32 << 10)


def _closed(ledger: Ledger) -> Closed:
    def frames(counts: dict[str, Count]) -> dict[str, int]:
        return {reason: count.frames for reason, count in counts.items()}

    return Closed(
        balanced=ledger.balanced,
        produced=ledger.produced.frames,
        dropped=frames(dict(ledger.dropped)),
        rejected=frames(dict(ledger.rejected)),
        dropped_messages=ledger.dropped_messages,
    )


if __name__ == "__main__":
    np.seterr(all="ignore")
    Producer(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Plan)).run()
