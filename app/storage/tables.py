"""Every table. A run's measurements are in `block`; everything else is small rows."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.storage.base import Base

# SQLite numbers rows by itself only in a column that is exactly INTEGER
BigId = BigInteger().with_variant(Integer(), "sqlite")


LIVE_STATES = ("starting", "running", "unreachable")
"""States in which a worker holds a run (an attached one holds itself)."""


def _of_run(primary_key: bool = False) -> Mapped[str]:
    return mapped_column(ForeignKey("run.id", ondelete="CASCADE"), primary_key=primary_key, index=not primary_key)


class Run(Base):
    """One training. `spec` is null for a run attached from outside."""

    __tablename__ = "run"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    project: Mapped[str] = mapped_column(String(100), index=True)
    tags: Mapped[list[Any]]
    notes: Mapped[str] = mapped_column(Text, default="")
    state: Mapped[str] = mapped_column(String(16), index=True)
    reason: Mapped[str] = mapped_column(Text, default="")
    """Why it is in this state."""
    step: Mapped[int] = mapped_column(BigInteger, default=0)
    """Newest step heard of."""
    steps: Mapped[int | None] = mapped_column(BigInteger)
    """Steps it shall train."""
    spec: Mapped[dict[str, Any] | None]
    parent: Mapped[str | None] = mapped_column(ForeignKey("run.id", ondelete="SET NULL"), index=True)
    parent_step: Mapped[int | None] = mapped_column(BigInteger)
    attempt: Mapped[int] = mapped_column(default=0)
    """The newest attempt; 0 before the first."""
    wanted: Mapped[str | None] = mapped_column(String(16))
    """What a user asked for and the worker has not done yet: stopped or paused."""
    revision: Mapped[int] = mapped_column(BigInteger, default=0)
    """Raised by every change, measurements included; live pages watch it."""
    failure: Mapped[dict[str, Any] | None]
    """`{"error", "traceback"}` of a failed training."""
    created_at: Mapped[datetime] = mapped_column(index=True)
    updated_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    thinned_at: Mapped[datetime | None]
    """Since when full blocks of its rows as measured are given up: of those the coarser levels are read."""


class Transition(Base):
    """One change of a run's state."""

    __tablename__ = "transition"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    run_id: Mapped[str] = _of_run()
    old: Mapped[str | None] = mapped_column(String(16))
    new: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(Text)
    attempt: Mapped[int] = mapped_column(default=0)
    at: Mapped[datetime]


class Attempt(Base):
    """One execution of a run by a worker. `start_step` is where it resumed; its frames replace older ones after it."""

    __tablename__ = "attempt"
    run_id: Mapped[str] = _of_run(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    worker_id: Mapped[str | None] = mapped_column(ForeignKey("worker.id", ondelete="SET NULL"), index=True)
    start_step: Mapped[int] = mapped_column(BigInteger, default=0)
    lease_until: Mapped[datetime | None] = mapped_column(index=True)
    """Null once it has ended."""
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(String(16))


class Worker(Base):
    """A process that claims queued runs."""

    __tablename__ = "worker"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(128), unique=True)
    host: Mapped[str] = mapped_column(String(256))
    pid: Mapped[int]
    device: Mapped[str] = mapped_column(String(128))
    slots: Mapped[int]
    datasets: Mapped[list[Any]]
    version: Mapped[str] = mapped_column(String(64))
    registered_at: Mapped[datetime]
    heard_at: Mapped[datetime]


class Command(Base):
    """Something a worker shall do with a run; sent with every heartbeat's answer until done."""

    __tablename__ = "command"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    run_id: Mapped[str] = _of_run()
    attempt: Mapped[int]
    kind: Mapped[str] = mapped_column(String(16))
    data: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    done_at: Mapped[datetime | None]
    # without it SQLite hands the id of a deleted newest row out again, and a late "done" would meet another command
    __table_args__ = {"sqlite_autoincrement": True}


class Checkpoint(Base):
    """A checkpoint that a worker says it has written."""

    __tablename__ = "checkpoint"
    run_id: Mapped[str] = _of_run(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    best: Mapped[bool]
    metric: Mapped[float | None]
    """Validation loss at the step, where known and finite."""
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime]


class Sample(Base):
    """A picture of what a generative model made at a step; a later attempt's replaces an earlier one's."""

    __tablename__ = "sample"
    run_id: Mapped[str] = _of_run(primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    attempt: Mapped[int]
    width: Mapped[int]
    height: Mapped[int]
    caption: Mapped[str] = mapped_column(Text)
    png: Mapped[bytes] = mapped_column(LargeBinary)
    at: Mapped[datetime]


class Measurement(Base):
    """Something that was asked to be measured once, and what came of it."""

    __tablename__ = "measurement"
    run_id: Mapped[str] = _of_run(primary_key=True)
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    attempt: Mapped[int]
    settings: Mapped[dict[str, Any]]
    """A `gyrostat.spec.measurements.Measurement`."""
    state: Mapped[str] = mapped_column(String(16))
    """waiting, done or failed."""
    step: Mapped[int | None] = mapped_column(BigInteger)
    seconds: Mapped[float | None]
    samples: Mapped[int | None] = mapped_column(BigInteger)
    error: Mapped[str | None] = mapped_column(Text)
    """Why it failed."""
    result: Mapped[dict[str, Any] | None]
    """A `gyrostat.wire.measurements.Values`, once it is done."""
    asked_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class Event(Base):
    """What happened, in order, for live pages to resume from: `id` is the server-sent event's id."""

    __tablename__ = "event"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    run_id: Mapped[str] = _of_run()
    kind: Mapped[str] = mapped_column(String(32))
    step: Mapped[int | None] = mapped_column(BigInteger)
    data: Mapped[dict[str, Any]]
    at: Mapped[datetime]
    # else SQLite hands the id of a deleted newest row out again, and readers that are past it would miss the event
    __table_args__ = {"sqlite_autoincrement": True}


class Producer(Base):
    """Who sent numbered messages for an attempt, and which numbers have been stored."""

    __tablename__ = "producer"
    run_id: Mapped[str] = _of_run(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    last: Mapped[int] = mapped_column(BigInteger)
    """Highest number stored."""
    missing: Mapped[list[Any]]
    """Numbers below `last` that have not arrived, as inclusive ranges."""


class Layout(Base):
    """A version of what an attempt's columns mean."""

    __tablename__ = "layout"
    run_id: Mapped[str] = _of_run(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    document: Mapped[dict[str, Any]]
    """A `gyrostat.wire.layout.Layout`."""


class Metric(Base):
    """A metric that a run has values of; kept up with every batch, so that the catalogue costs one small read."""

    __tablename__ = "metric"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    run_id: Mapped[str | None] = mapped_column(ForeignKey("run.id", ondelete="SET NULL"), index=True)
    """Null once the run was deleted: the blocks are taken away afterwards, some at a time."""
    name: Mapped[str] = mapped_column(String(96))
    unit: Mapped[str] = mapped_column(String(32))
    axis: Mapped[str] = mapped_column(String(16))
    description: Mapped[str] = mapped_column(Text)
    count: Mapped[int] = mapped_column(BigInteger, default=0)
    """Rows stored, all attempts."""
    first_step: Mapped[int | None] = mapped_column(BigInteger)
    last_step: Mapped[int | None] = mapped_column(BigInteger)
    latest: Mapped[bytes | None] = mapped_column(LargeBinary)
    """The newest row, float32 little-endian."""
    latest_layout: Mapped[int | None]
    latest_attempt: Mapped[int | None]
    __table_args__ = (Index("uq_metric_run_id_name", "run_id", "name", unique=True),)


class Block(Base):
    """Consecutive rows of one metric of one attempt: a step column and a steps x names matrix, compressed.

    Level 0 holds the rows as sent; a higher level holds one row for several rows of the level below.
    The format is in docs/storage.md.
    """

    __tablename__ = "block"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    metric_id: Mapped[int] = mapped_column(ForeignKey("metric.id", ondelete="CASCADE"))
    attempt: Mapped[int]
    level: Mapped[int]
    layout: Mapped[int]
    """Version of the layout whose names its columns follow."""
    first_step: Mapped[int] = mapped_column(BigInteger)
    last_step: Mapped[int] = mapped_column(BigInteger)
    rows: Mapped[int]
    width: Mapped[int]
    sealed: Mapped[bool] = mapped_column(default=False)
    """Of full size: it is not merged again."""
    body: Mapped[bytes] = mapped_column(LargeBinary)
    # ids are never given out again, so that readers may remember what a block held when it is gone
    __table_args__ = {"sqlite_autoincrement": True}


# what a chart asks of blocks before it reads any: all in the index, because each block's row is a page of its own
Index(
    "ix_block_place",
    Block.metric_id,
    Block.level,
    Block.attempt,
    Block.first_step,
    Block.last_step,
    Block.layout,
    Block.rows,
    Block.width,
    Block.sealed,
)

# what the merging looks through each time: few, however many sealed ones there are
Index(
    "ix_block_unsealed",
    Block.metric_id,
    Block.attempt,
    Block.level,
    Block.layout,
    Block.rows,
    Block.width,
    sqlite_where=Block.sealed.is_(False),
    postgresql_where=Block.sealed.is_(False),
)


class DetectorState(Base):
    """What the detectors remember of an attempt, committed with the frames they saw."""

    __tablename__ = "detector_state"
    run_id: Mapped[str] = _of_run(primary_key=True)
    body: Mapped[bytes] = mapped_column(LargeBinary)


class Alert(Base):
    """What a rule found on a run."""

    __tablename__ = "alert"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    run_id: Mapped[str] = _of_run()
    rule: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(64))
    severity: Mapped[str] = mapped_column(String(16), index=True)
    state: Mapped[str] = mapped_column(String(16), index=True)
    """open, acknowledged or resolved."""
    muted: Mapped[bool] = mapped_column(default=False)
    names: Mapped[list[Any]]
    onset_step: Mapped[int | None] = mapped_column(BigInteger)
    opened_step: Mapped[int | None] = mapped_column(BigInteger)
    last_step: Mapped[int | None] = mapped_column(BigInteger)
    resolved_step: Mapped[int | None] = mapped_column(BigInteger)
    summary: Mapped[str] = mapped_column(Text)
    evidence: Mapped[list[Any]]
    remedies: Mapped[list[Any]]
    opened_at: Mapped[datetime] = mapped_column(index=True)
    updated_at: Mapped[datetime]
    acknowledged_at: Mapped[datetime | None]
    resolved_at: Mapped[datetime | None]


class AlertChange(Base):
    """One change of an alert: opened, updated, acknowledged, resolved, muted, remedy_applied, remedy_judged."""

    __tablename__ = "alert_change"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    alert_id: Mapped[str] = mapped_column(ForeignKey("alert.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    note: Mapped[str] = mapped_column(Text, default="")
    step: Mapped[int | None] = mapped_column(BigInteger)
    at: Mapped[datetime]


class Rule(Base):
    """An operator's change to an alert rule, for all runs: a `gyrostat.spec.run.RuleOverride`."""

    __tablename__ = "rule"
    kind: Mapped[str] = mapped_column(String(64), primary_key=True)
    override: Mapped[dict[str, Any]]
    updated_at: Mapped[datetime]


class IdempotencyKey(Base):
    """The answer that was given to a create with this key, to be given again."""

    __tablename__ = "idempotency_key"
    key: Mapped[str] = mapped_column(String(128), primary_key=True)
    route: Mapped[str] = mapped_column(String(128), primary_key=True)
    request_digest: Mapped[str] = mapped_column(String(64))
    status: Mapped[int]
    response: Mapped[dict[str, Any]]
    at: Mapped[datetime] = mapped_column(index=True)


class Token(Base):
    """A token that the service gave out; of its text only the digest is kept."""

    __tablename__ = "token"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    """SHA-256 of the text, in hexadecimal digits."""
    scopes: Mapped[list[Any]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    """To the minute."""
