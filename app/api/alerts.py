"""`/v1/alerts`: what rules found on runs, and the remedies they offer."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from app.api.runs import IdempotencyKey
from app.deps import READ, RUN, DatabaseDep, NowDep
from app.services import alerting, idempotency
from app.services import remedies as remedy_service
from app.services.alert_view import AlertDetail, AlertState, AlertView, RemedyView
from app.services.remedies import Applied, Mode
from app.services.run_requests import Body, Notes
from app.services.run_view import Page, View
from gyrostat.spec.run import Severity

router = APIRouter(prefix="/v1", tags=["alerts"])

AlertId = Annotated[str, Path(description="Id of the alert", max_length=64, examples=["c0ffee5f0c2f9d3b"])]
RemedyNumber = Annotated[int, Path(description="Place among the alert's remedies, from 0", ge=0, le=1000, examples=[0])]


class NoteRequest(Body):
    """Why somebody does something with an alert."""

    note: Notes = Field("", examples=["Known: the second shard holds broken samples."])
    """Kept in the alert's history."""


class MuteRequest(NoteRequest):
    """Whether the alert shall be counted and announced."""

    muted: bool = True
    """False undoes it."""


class ApplyRequest(Body):
    """How to apply a remedy."""

    mode: Mode = "fork"
    """`fork` starts a new run from the last good checkpoint, or from scratch; `live` changes the running training."""


class Remedies(View):
    """What may cure an alert."""

    items: list[RemedyView]
    """Best first."""
    next: None = None
    """There is no second page."""


@router.get("/alerts", dependencies=[READ], summary="List alerts")
def list_alerts(
    database: DatabaseDep,
    run: Annotated[str | None, Query(max_length=64, description="Only of this run")] = None,
    state: Annotated[list[AlertState] | None, Query(description="Only in one of these states")] = None,
    severity: Annotated[list[Severity] | None, Query(description="Only of one of these severities")] = None,
    kind: Annotated[list[str] | None, Query(max_length=20, description="Only of one of these kinds")] = None,
    cursor: Annotated[str | None, Query(max_length=1000, description="`next` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=alerting.MAX_PAGE, description="Alerts on a page")] = 50,
) -> Page[AlertView]:
    """Alerts that match everything given, newest first."""
    with database.read() as session:
        return alerting.list_alerts(
            session, run=run, state=state, severity=severity, kind=kind, cursor=cursor, limit=limit
        )


@router.get("/alerts/{alert_id}", dependencies=[READ], summary="Get an alert")
def get_alert(alert_id: AlertId, database: DatabaseDep) -> AlertDetail:
    """One alert with its evidence, its remedies, and everything that became of it."""
    with database.read() as session:
        return alerting.get(session, alert_id)


@router.post("/alerts/{alert_id}:acknowledge", dependencies=[RUN], summary="Acknowledge an alert")
def acknowledge_alert(
    alert_id: AlertId, database: DatabaseDep, now: NowDep, body: NoteRequest | None = None
) -> AlertDetail:
    """Says that somebody has seen it. It still resolves by itself when it has been quiet."""
    note = body.note if body else ""
    return database.write(lambda session: alerting.acknowledge(session, alert_id, note, now))


@router.post("/alerts/{alert_id}:resolve", dependencies=[RUN], summary="Resolve an alert")
def resolve_alert(
    alert_id: AlertId, database: DatabaseDep, now: NowDep, body: NoteRequest | None = None
) -> AlertDetail:
    """Closes it. If its rule finds the same again, it opens another."""
    note = body.note if body else ""
    return database.write(lambda session: alerting.resolve(session, alert_id, note, now))


@router.post("/alerts/{alert_id}:mute", dependencies=[RUN], summary="Mute an alert")
def mute_alert(alert_id: AlertId, database: DatabaseDep, now: NowDep, body: MuteRequest | None = None) -> AlertDetail:
    """Keeps it, but counts and announces it no more; `muted` false undoes that."""
    wanted = body or MuteRequest()
    return database.write(lambda session: alerting.mute(session, alert_id, wanted.note, now, muted=wanted.muted))


@router.get("/alerts/{alert_id}/remedies", dependencies=[READ], summary="List an alert's remedies")
def list_remedies(alert_id: AlertId, database: DatabaseDep) -> Remedies:
    """Changes that may cure it, best first, each with the reason and the patch of the spec."""
    with database.read() as session:
        return Remedies(items=remedy_service.list_remedies(session, alert_id))


@router.post(
    "/alerts/{alert_id}/remedies/{number}:apply",
    status_code=201,
    response_model=Applied,
    dependencies=[RUN],
    summary="Apply a remedy",
)
def apply_remedy(
    alert_id: AlertId,
    number: RemedyNumber,
    database: DatabaseDep,
    now: NowDep,
    response: Response,
    body: ApplyRequest | None = None,
    key: IdempotencyKey = None,
) -> dict[str, Any]:
    """Starts a fork with the changed spec, or changes the running training.

    When a fork ends, what came of it is written down on the alert: whether the alert came back, and whether the run
    ended better.
    """
    mode = (body or ApplyRequest()).mode
    applied = database.write(
        lambda session: idempotency.once(
            session,
            key,
            "POST /v1/alerts/remedies:apply",
            {"alert": alert_id, "remedy": number, "mode": mode},
            now,
            lambda: remedy_service.apply(session, alert_id, number, mode, now).model_dump(mode="json"),
        )
    )
    response.headers["Location"] = f"/v1/runs/{applied['run']}"
    return applied
