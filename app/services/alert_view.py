"""An alert as it is shown, with its history where it is asked for alone."""

import json
import math
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, PlainSerializer

from app.alerts.base import DETECTORS
from app.services.run_view import View
from app.storage.tables import Alert, AlertChange
from gyrostat.spec.run import Severity

AlertState = Literal["open", "acknowledged", "resolved"]


def spelled(value: float) -> float | str:
    """A number as JSON can hold it: non-finite ones as "NaN", "Infinity", "-Infinity"."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


Number = Annotated[float, PlainSerializer(spelled, return_type=float | str, when_used="json")]


class EvidenceView(View):
    """One number behind an alert."""

    metric: str
    name: str | None
    """The layer, where the metric has one value a layer."""
    step: int
    value: Number
    """Non-finite values are the strings NaN, Infinity and -Infinity."""
    threshold: Number | None
    """What it was compared with."""
    text: str


class RemedyView(View):
    """A change that may cure the alert."""

    title: str
    stabilizer: str | None
    """Id in the catalogue; null where it is no technique, as a smaller rate."""
    patch: dict[str, Any]
    """JSON merge patch on the run's spec, for a fork."""
    control: dict[str, Any] | None
    """Live change for the running training; null where it needs a fork."""
    reason: str
    """Why it should help here, with the run's own numbers."""
    source: str


class ChangeView(View):
    """Something that became of an alert."""

    kind: str
    """opened, updated, acknowledged, resolved, muted, unmuted, remedy_applied or remedy_judged."""
    step: int | None
    at: datetime
    note: str
    data: dict[str, Any]
    """Of remedies: the remedy's number, how it was applied, the fork's id, and what came of it."""


class AlertView(View):
    """What a rule found on a run."""

    id: str
    run: str
    rule: str
    kind: str
    title: str
    """What the kind is called."""
    severity: Severity
    state: AlertState
    muted: bool
    """Kept, but counted and announced no more."""
    names: list[str]
    """The layers concerned, worst first."""
    onset_step: int | None
    """Where it began."""
    opened_step: int | None
    """Where it was found."""
    last_step: int | None
    """Where it was last told."""
    resolved_step: int | None
    summary: str
    evidence: list[EvidenceView]
    remedies: list[RemedyView]
    """Best first; apply one by its place, from 0."""
    opened_at: datetime
    updated_at: datetime
    acknowledged_at: datetime | None
    resolved_at: datetime | None


class AlertDetail(AlertView):
    """An alert with everything that became of it."""

    explanation: str
    """What alerts of this kind mean and why they matter."""
    changes: list[ChangeView] = Field(default_factory=list)
    """Oldest first."""


def view(alert: Alert) -> AlertView:
    """The alert as lists show it."""
    return AlertView.model_validate(_fields(alert))


def detail(alert: Alert, changes: list[AlertChange]) -> AlertDetail:
    """The alert as its own page shows it."""
    known = DETECTORS.get(alert.kind)
    explanation = known.explanation if known else ""
    return AlertDetail.model_validate(
        {**_fields(alert), "explanation": explanation, "changes": [change_view(change) for change in changes]}
    )


def change_view(change: AlertChange) -> ChangeView:
    """A change; what happened to remedies is kept as JSON in its note."""
    data = json.loads(change.note) if change.kind.startswith("remedy_") else {}
    return ChangeView(
        kind=change.kind,
        step=change.step,
        at=change.at,
        note=str(data.pop("text", "")) if data else change.note,
        data=data,
    )


def _fields(alert: Alert) -> dict[str, Any]:
    known = DETECTORS.get(alert.kind)
    own = {name: getattr(alert, name) for name in AlertView.model_fields if name not in ("run", "title")}
    return {**own, "run": alert.run_id, "title": known.title if known else alert.kind}
