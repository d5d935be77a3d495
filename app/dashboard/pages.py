"""Routes of the dashboard: pages, the fragments that keep them current, the figures of their charts."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import StringConstraints
from starlette.responses import HTMLResponse

from app.dashboard import figures, plotly
from app.dashboard import panels as _all_panels  # noqa: F401 - importing them fills their registry
from app.dashboard.contents import alert_cards
from app.dashboard.contents import alerts as alerts_content
from app.dashboard.contents import catalogue as catalogue_content
from app.dashboard.contents import measurements as measurements_content
from app.dashboard.contents import new_run as new_run_content
from app.dashboard.contents import panel as panel_content
from app.dashboard.contents import run as run_content
from app.dashboard.contents import runs as runs_content
from app.dashboard.contents import settings as settings_content
from app.dashboard.rendering import html, page
from app.deps import READ, CallerDep, DatabaseDep, HubDep, MemoryDep, NowDep, SettingsDep, TokensDep
from app.errors import AppError, Damaged
from app.services import alerting
from app.storage.database import Database, Session
from gyrostat.wire.frame import MAX_STEP

router = APIRouter(include_in_schema=False, dependencies=[READ])

Text = Annotated[str, Query(max_length=200)]
Cursor = Annotated[str, Query(max_length=1000)]
Step = Annotated[int | None, Query(ge=0, le=MAX_STEP)]
Chosen = Annotated[str, StringConstraints(max_length=128, pattern=r"^[\w.:/-]+(,log|,linear)?$")]
"""A panel's slug, and on which scale it is drawn where that is not its own."""
MAX_PANELS = 24


def _run_filters(
    q: Text = "", state: Text = "", project: Text = "", tag: Text = "", order: Text = "", cursor: Cursor = ""
) -> runs_content.Filters:
    return runs_content.Filters(q, state, project, tag, order, cursor)


def _alert_filters(state: Text = "open", severity: Text = "", cursor: Cursor = "") -> alerts_content.Filters:
    return alerts_content.Filters(state, severity, cursor)


RunFilters = Annotated[runs_content.Filters, Depends(_run_filters)]
AlertFilters = Annotated[alerts_content.Filters, Depends(_alert_filters)]


@router.get("/", response_model=None)
def runs(request: Request, database: DatabaseDep, filters: RunFilters) -> Response:
    """All runs."""
    return _answer(database, "runs.html", "runs", lambda s: runs_content.context(s, filters, str(request.base_url)))


@router.get("/fragments/runs", response_model=None)
def runs_fragment(request: Request, database: DatabaseDep, filters: RunFilters) -> Response:
    """The list of runs alone."""
    return _answer(
        database, "parts/runs_fragment.html", "runs", lambda s: runs_content.context(s, filters, str(request.base_url))
    )


@router.get("/runs/new", response_model=None)
def new_run(database: DatabaseDep, preset: Text = "") -> Response:
    """The form that starts a run."""
    return _answer(database, "new_run.html", "runs", lambda s: new_run_content.context(preset))


@router.get("/runs/{run_id}", response_model=None)
def run(run_id: str, database: DatabaseDep, now: NowDep) -> Response:
    """One run."""
    return _answer(
        database, "run.html", "runs", lambda s: {**run_content.context(s, run_id, now), "plotly_url": plotly.URL}
    )


@router.get("/fragments/runs/{run_id}", response_model=None)
def run_fragment(run_id: str, database: DatabaseDep, hub: HubDep, now: NowDep, memory: MemoryDep) -> Response:
    """What changes on a run's page."""

    def made() -> bytes:
        with database.read() as session:
            context = {**run_content.context(session, run_id, now), "num_open_alerts": alerting.num_open(session)}
        return html("parts/run_fragment.html", **context).encode()

    body = memory.get(run_id, hub.mark(run_id) or _version(database, run_id), made)
    return HTMLResponse(body, headers={"Cache-Control": "no-store"})


@router.get("/runs/{run_id}/panels", response_model=None)
def panels(
    run_id: str,
    chosen: Annotated[list[Chosen], Query(alias="panel", min_length=1, max_length=MAX_PANELS)],
    database: DatabaseDep,
    hub: HubDep,
    memory: MemoryDep,
    first: Annotated[Step, Query(alias="from")] = None,
    last: Annotated[Step, Query(alias="to")] = None,
    points: Annotated[int, Query(ge=10, le=4000)] = 600,
    smooth: Annotated[float, Query(ge=0, lt=1)] = 0.0,
    theme: Literal["light", "dark"] = "light",
) -> Response:
    """Figures for plotly by their panels' slugs. In one answer: browsers have few connections, and viewers are many."""
    version = hub.mark(run_id) or _version(database, run_id)

    def figure(slug: str, asked: panel_content.Request) -> bytes:
        def made() -> bytes:
            with database.read() as session:
                marks = alert_cards.marks(session, run_id)
                return figures.to_json(panel_content.figure(session, run_id, slug, asked, marks))

        try:
            return memory.get((run_id, slug, asked), version, made)
        except Damaged as error:  # the others are as good as ever
            if len(chosen) == 1:
                raise
            return figures.failure(error.detail)

    found = {}
    for slug, _, scale in (each.partition(",") for each in chosen):
        log = scale == "log" if scale else None
        found[slug] = figure(slug, panel_content.Request(first, last, points, smooth, log, theme))
    return Response(figures.together(found), media_type="application/json", headers={"Cache-Control": "no-store"})


@router.get("/runs/{run_id}/measurements/{measurement_id}", response_model=None)
def measurement(
    run_id: str,
    measurement_id: str,
    database: DatabaseDep,
    log: bool | None = None,
    theme: Literal["light", "dark"] = "light",
) -> Response:
    """The figure of a measurement on demand, which never changes."""
    with database.read() as session:
        body = figures.to_json(measurements_content.figure(session, run_id, measurement_id, theme=theme, log=log))
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})


@router.get("/alerts", response_model=None)
def alerts(database: DatabaseDep, filters: AlertFilters) -> Response:
    """The inbox."""
    return _answer(database, "alerts.html", "alerts", lambda s: alerts_content.context(s, filters))


@router.get("/fragments/alerts", response_model=None)
def alerts_fragment(database: DatabaseDep, filters: AlertFilters) -> Response:
    """The inbox alone."""
    return _answer(database, "parts/alerts_fragment.html", "alerts", lambda s: alerts_content.context(s, filters))


@router.get("/catalogue", response_model=None)
def catalogue(database: DatabaseDep) -> Response:
    """Techniques, probes, metrics, rules and data sets."""
    return _answer(database, "catalogue.html", "catalogue", lambda s: {"sections": catalogue_content.sections()})


@router.get("/settings", response_model=None)
def settings(database: DatabaseDep, caller: CallerDep, tokens: TokensDep, app_settings: SettingsDep) -> Response:
    """Tokens and channels, for those who may make them."""

    def build(session: Session) -> dict[str, Any]:
        return settings_content.context(session, caller, app_settings, protected=tokens.needed)

    return _answer(database, "settings.html", "settings", build)


def _version(database: Database, run_id: str) -> tuple[int, int, str, int]:
    with database.read() as session:
        return *run_content.version(session, run_id), alerting.num_open(session)


def _answer(database: Database, template: str, section: str, build: Callable[[Session], dict[str, Any]]) -> Response:
    """The page or fragment; what goes wrong comes as a page too, since a person reads it."""
    try:
        with database.read() as session:
            context = {"section": section, "num_open_alerts": alerting.num_open(session), **build(session)}
    except AppError as error:
        gone = {"section": section, "num_open_alerts": 0, "title": error.title, "detail": error.detail}
        return page("error.html", status=error.status, **gone)
    return page(template, **context)
