"""Builds the backend: `create_app(settings)`. Nothing runs at import."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI

from app import problems
from app.api import (
    alerts,
    catalogue,
    channels,
    docs,
    events,
    frames,
    health,
    measurements,
    metrics,
    rules,
    runs,
    samples,
    tokens,
    workers,
)
from app.api.static_files import VersionedFiles
from app.dashboard import login, pages, plotly
from app.deps import Clock, utc_now
from app.guards.bodies import BodyGuard
from app.guards.failsafe import Failsafe
from app.guards.headers import SecurityHeaders
from app.guards.hosts import HostGuard
from app.guards.observation import Observation
from app.guards.tokens import TokenGuard, Tokens
from app.services.events import Hub
from app.services.maintenance import Merger
from app.services.memory import Memory
from app.services.notify.courier import Courier
from app.services.notify.notifier import Notifier
from app.services.reaper import Reaper
from app.services.retention import Retention
from app.services.telemetry import Telemetry
from app.settings import AppSettings
from app.storage.backlog import Backlog
from app.storage.database import Database
from gyrostat import __version__

PARTS = (
    frames,
    metrics,
    runs,
    samples,
    measurements,
    events,
    alerts,
    rules,
    workers,
    tokens,
    channels,
    catalogue,
    health,
    docs,
    pages,
    plotly,
    login,
)


def create_app(settings: AppSettings, *, clock: Clock = utc_now, courier: Courier | None = None) -> FastAPI:
    """The backend for `settings`; `clock` gives the time that states and leases go by, `courier` sends messages."""
    app = FastAPI(
        title="Gyrostat",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan(settings, clock),
    )
    app.state.settings, app.state.clock = settings, clock
    app.state.hub = Hub(clock)
    app.state.telemetry = Telemetry()
    app.state.memory = Memory()
    app.state.courier = courier or Courier(settings)
    app.state.tokens = Tokens(settings, lambda: app.state.database)
    problems.install(app)
    for part in PARTS:
        # not `include_router`, which has every request walk through routers in routers, twice
        app.router.routes.extend(part.router.routes)
    app.mount("/static", VersionedFiles(), name="static")
    docs.describe(app)
    # the last one added is the first one met
    app.add_middleware(BodyGuard, max_bytes=settings.max_body_bytes)
    app.add_middleware(TokenGuard, tokens=app.state.tokens)
    app.add_middleware(HostGuard, settings=settings)
    app.add_middleware(Failsafe)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(Observation, telemetry=app.state.telemetry, wake=app.state.hub.wake)
    return app


def _lifespan(settings: AppSettings, clock: Clock) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        hub: Hub = app.state.hub
        telemetry: Telemetry = app.state.telemetry
        database = app.state.database = await asyncio.to_thread(_open, settings, telemetry)
        telemetry.watch(database)
        reaper = Reaper(database, settings, clock, wake=hub.wake)
        await asyncio.to_thread(reaper.grant_grace)
        watching = asyncio.create_task(hub.run(database))
        merger, retention = Merger(database), Retention(database, settings.keep_days, settings.keep_raw_days, clock)
        notifier = app.state.notifier = Notifier(database, app.state.courier, telemetry, clock)
        reaper.start()
        merger.start()
        await asyncio.to_thread(notifier.start)
        retention.start()
        try:
            yield
        finally:
            hub.close()
            notifier.close()
            await watching
            await asyncio.to_thread(reaper.stop)
            await asyncio.to_thread(merger.stop)
            await asyncio.to_thread(retention.stop)
            await asyncio.to_thread(notifier.stop)
            await asyncio.to_thread(database.close)

    return lifespan


def _open(settings: AppSettings, telemetry: Telemetry) -> Database:
    settings.data.mkdir(parents=True, exist_ok=True)
    database = Database(
        settings.url,
        serving=True,
        on_commit=telemetry.committed,
        backlog=Backlog(max_bytes=settings.max_backlog_bytes),
    )
    try:
        if database.current() != database.head():
            database.migrate()
    except BaseException:
        database.close()
        raise
    return database
