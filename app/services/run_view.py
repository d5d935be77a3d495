"""A run as it is shown: its row, its worker's name and its open alerts."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from app.storage import runs as run_repository
from app.storage.database import Session
from app.storage.tables import Run

T = TypeVar("T")

State = Literal[
    "queued", "starting", "running", "paused", "finished", "failed", "stopped", "lost", "unreachable"
]  # fmt: skip


class View(BaseModel):
    """Base of answers."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, from_attributes=True)


class Page(View, Generic[T]):
    """Part of a list."""

    items: list[T]
    """In the order asked for."""
    next: str | None
    """Send as `cursor` to go on; null at the end."""


class Failure(View):
    """Why a training failed."""

    error: str
    """The exception's last line."""
    traceback: str
    """Its end, where it is long."""


EXAMPLE: dict[str, Any] = {
    "id": "5f0c2f9d3b1a4e77",
    "name": "digits-mlp-1",
    "project": "default",
    "tags": ["baseline"],
    "notes": "",
    "state": "running",
    "reason": "training began at step 0",
    "wanted": None,
    "step": 120,
    "steps": 1000,
    "spec": {"task": {"kind": "classification", "dataset": {"kind": "digits"}}, "steps": 1000},
    "parent": None,
    "parent_step": None,
    "attempt": 1,
    "revision": 31,
    "failure": None,
    "worker": "desk-1",
    "alerts": {"warning": 1},
    "created_at": "2026-03-14T09:26:51.102933Z",
    "started_at": "2026-03-14T09:26:53.589793Z",
    "ended_at": None,
    "thinned_at": None,
    "updated_at": "2026-03-14T09:27:40.411058Z",
}


class RunView(View):
    """One training."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    id: str
    name: str
    project: str
    tags: list[str]
    notes: str
    state: State
    reason: str
    """Why it is in this state."""
    wanted: Literal["stopped", "paused"] | None
    """What was asked for and its worker has not done yet."""
    step: int
    """Newest step heard of."""
    steps: int | None
    """Steps it shall train; null for an attached run."""
    spec: dict[str, Any] | None
    """Null for an attached run."""
    parent: str | None
    """The run it was forked from."""
    parent_step: int | None
    """The checkpoint it began at; null from scratch."""
    attempt: int
    """The newest execution; 0 before the first."""
    revision: int
    """Raised by every change, measurements included."""
    failure: Failure | None
    worker: str | None
    """Name of the worker of the newest attempt."""
    alerts: dict[str, int] = Field(default_factory=dict)
    """Open alerts by severity."""
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    thinned_at: datetime | None
    """Since when only summaries of what it measured are kept; null while every row is as it was measured."""
    updated_at: datetime


def views(session: Session, runs: Sequence[Run]) -> list[RunView]:
    """Each run as it is shown, in three queries whatever their number."""
    alerts = run_repository.open_alerts(session, [run.id for run in runs])
    workers = run_repository.worker_names(session, runs)
    return [_view(run, workers.get(run.id), alerts.get(run.id, {})) for run in runs]


def view(session: Session, run: Run) -> RunView:
    """The run as it is shown."""
    session.flush()
    return views(session, [run])[0]


def _view(run: Run, worker: str | None, alerts: dict[str, int]) -> RunView:
    columns = {name: getattr(run, name) for name in RunView.model_fields if name not in ("worker", "alerts")}
    return RunView.model_validate({**columns, "worker": worker, "alerts": alerts})
