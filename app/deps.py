"""What handlers ask for: the app's parts, the time, a run that exists."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, cast

from fastapi import Depends, Path, Request

from app.errors import NotFound
from app.guards.tokens import Tokens
from app.services.events import Hub
from app.services.telemetry import Telemetry
from app.settings import AppSettings
from app.storage import runs as run_repository
from app.storage.database import Database

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The server's time, the only one that leases and states go by."""
    return datetime.now(UTC)


def _state(request: Request) -> Any:
    return request.app.state


async def _database(request: Request) -> Database:
    return cast(Database, _state(request).database)


async def _settings(request: Request) -> AppSettings:
    return cast(AppSettings, _state(request).settings)


async def _hub(request: Request) -> Hub:
    return cast(Hub, _state(request).hub)


async def _telemetry(request: Request) -> Telemetry:
    return cast(Telemetry, _state(request).telemetry)


async def _tokens(request: Request) -> Tokens:
    return cast(Tokens, _state(request).tokens)


async def _clock(request: Request) -> Clock:
    return cast(Clock, _state(request).clock)


async def _now(request: Request) -> datetime:
    return cast(Clock, _state(request).clock)()


DatabaseDep = Annotated[Database, Depends(_database)]
SettingsDep = Annotated[AppSettings, Depends(_settings)]
HubDep = Annotated[Hub, Depends(_hub)]
TelemetryDep = Annotated[Telemetry, Depends(_telemetry)]
TokensDep = Annotated[Tokens, Depends(_tokens)]
ClockDep = Annotated[Clock, Depends(_clock)]
NowDep = Annotated[datetime, Depends(_now)]


RunId = Annotated[str, Path(description="Id of the run", max_length=64, examples=["5f0c2f9d3b1a4e77"])]
"""The id in the path, unchecked: for handlers whose service answers 404 itself."""


def _run_exists(run_id: RunId, database: DatabaseDep) -> str:
    with database.read() as session:
        if run_repository.get(session, run_id) is None:
            raise NotFound(f"there is no run {run_id!r}; GET /v1/runs lists those there are")
    return run_id


RunDep = Annotated[str, Depends(_run_exists)]
"""The id in the path, of a run that exists; 404 otherwise."""
