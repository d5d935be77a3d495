"""Everything else that is said between a training process, its worker and the backend."""

import math
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, field_validator

from gyrostat.wire.frame import MAX_ATTEMPT, MAX_STEP, PRODUCER_PATTERN
from gyrostat.wire.layout import Layout, Text, Wire
from gyrostat.wire.values import spelled

Producer = Field(pattern=PRODUCER_PATTERN)


class LayoutMessage(Wire):
    """A new version of the run's layout."""

    producer: str = Producer
    sequence: int = Field(ge=1, le=MAX_STEP)
    attempt: int = Field(ge=1, le=MAX_ATTEMPT)
    layout: Layout


EventKind = Literal[
    "started",
    "finished",
    "failed",
    "stopped",
    "paused",
    "interrupted",
    "checkpoint",
    "log",
    "probe_disabled",
    "intervention",
    "samples",
    "measurement",
    "loss_ledger",
]
"""What a training process reports.

The first six change the run's state: `started` -> running, `interrupted` (the worker was told to go) -> queued.
`checkpoint` carries `{"step", "best", "metric", "size_bytes", "kept"}`, `kept` being the steps of all checkpoints that
the worker still has; `failed` carries `{"error", "traceback"}`;
`probe_disabled` `{"probe", "reason", "traceback"}`; `intervention` says that a technique acted on its own;
`samples` carries `{"png", "caption"}`, a picture of what the model makes (base64 of a PNG, `gyrostat.wire.png`), which
is kept apart from the events and read at `/v1/runs/{id}/samples`; `measurement` carries what became of a measurement
on demand, a `gyrostat.wire.measurements.Report`, which is kept apart too and read at `/v1/runs/{id}/measurements`;
`loss_ledger` counts what the client had to drop, by reason.
"""


class Event(Wire):
    """Something that happened in the training process."""

    kind: EventKind
    at: float = Field(gt=0, lt=1e11, description="Seconds since 1970 UTC")
    step: int = Field(ge=0, le=MAX_STEP)
    data: dict[str, JsonValue] = Field(default_factory=dict)

    @field_validator("data")
    @classmethod
    def _is_storable(cls, data: dict[str, JsonValue]) -> dict[str, JsonValue]:
        return {_storable(key): _storable(value) for key, value in data.items()}


def _storable(value: Any) -> Any:
    """`value` with non-finite numbers as text (JSON's 1e999 is read as one), since JSON columns and browsers have none.

    Raises:
        ValueError: it holds a NUL character.
    """
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, str) and "\0" in value:
        raise ValueError("must hold no NUL characters, which PostgreSQL refuses; replace them, for instance by U+FFFD")
    if isinstance(value, float) and not math.isfinite(value):
        return spelled(value)
    return value


class EventsMessage(Wire):
    """Events of one attempt, in order."""

    producer: str = Producer
    sequence: int = Field(ge=1, le=MAX_STEP)
    attempt: int = Field(ge=1, le=MAX_ATTEMPT)
    events: list[Event] = Field(min_length=1, max_length=1000)


class Acknowledgement(Wire):
    """The backend's answer to a message: it is stored, evaluated and durable.

    `missing` lists sequence numbers below this one that never arrived, as inclusive ranges.
    `tighten` asks the probes to measure more often for a while, because a detector sees trouble.
    """

    status: Literal["stored", "duplicate"]
    sequence: int
    frames: int = 0
    points: int = 0
    missing: list[tuple[int, int]] = Field(default_factory=list)
    tighten: bool = False


class Command(Wire):
    """Something a worker is asked to do with one attempt of a run; repeated until it is reported done.

    A `control` carries what shall change, a `measure` a `gyrostat.wire.measurements.Order`; that one is done when the
    training has taken it, and the report follows as an event.
    """

    id: int
    run: str
    attempt: int = Field(ge=1, le=MAX_ATTEMPT)
    kind: Literal["stop", "pause", "control", "measure"]
    data: dict[str, Any] = Field(default_factory=dict)


class Registration(Wire):
    """A worker introduces itself. `name` stays the same over its restarts."""

    name: Text = Field(min_length=1, max_length=128)
    host: Text = Field(max_length=256)
    pid: int = Field(ge=1, lt=2**31)
    device: Text = Field(max_length=128, description="cpu, or the accelerator's name")
    slots: int = Field(default=1, ge=1, le=256, description="Runs it trains at once")
    datasets: list[Text] = Field(default_factory=list, max_length=1000, description="Data sets that it can load")
    version: Text = Field(max_length=64)


class Registered(Wire):
    """The backend's answer: the worker's id, and how it shall keep in touch."""

    id: str
    heartbeat_seconds: float
    lease_seconds: float


class RunningReport(Wire):
    """One run that a worker is training right now."""

    run: str
    attempt: int = Field(ge=1, le=MAX_ATTEMPT)
    step: int = Field(ge=0, le=MAX_STEP)


class Heartbeat(Wire):
    """Sent every `heartbeat_seconds`; renews the lease of every run it names. `done`: commands carried out.

    A worker that is `leaving` gets no more runs, by a claim that is already waiting either, until it registers again.
    """

    running: list[RunningReport] = Field(default_factory=list, max_length=256)
    done: list[Annotated[int, Field(ge=1, le=MAX_STEP)]] = Field(default_factory=list, max_length=1000)
    leaving: bool = False


class RunAttempt(Wire):
    """One attempt of a run: an answer about it may arrive when its worker trains the next one already."""

    run: str
    attempt: int = Field(ge=1, le=MAX_ATTEMPT)


class CheckpointReference(Wire):
    """A checkpoint by the run that wrote it and its step; never a path."""

    run: str
    step: int


class HeartbeatAnswer(Wire):
    """Commands for the worker's runs.

    `abandon` names attempts whose lease it lost: it must end them, unheard. `keep` names all checkpoints of its runs
    that others still have to start from: it must not remove them until an answer leaves them out.
    """

    commands: list[Command] = Field(default_factory=list)
    abandon: list[RunAttempt] = Field(default_factory=list)
    keep: list[CheckpointReference] = Field(default_factory=list)
    lease_seconds: float


class Assignment(Wire):
    """A run that the worker has claimed: what to train, as which attempt, and from where."""

    run: str
    attempt: int
    spec: dict[str, Any]
    resume: CheckpointReference | None = None
    lease_seconds: float
