"""What handlers ask for: the app's parts, the time, a run that exists, a scope of the caller's token."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, cast

from fastapi import Depends, Path, Request, Security
from fastapi.dependencies.models import Dependant
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from app.errors import Invalid, NotFound
from app.guards.tokens import Caller, Tokens
from app.services.events import Hub
from app.services.memory import Memory
from app.services.notify.courier import Courier
from app.services.notify.notifier import Notifier
from app.services.telemetry import Telemetry
from app.settings import AppSettings
from app.storage import runs as run_repository
from app.storage.database import Database
from gyrostat.spec.checks import Problem
from gyrostat.spec.parse import nearest
from gyrostat.wire.scopes import SCOPES, Scope

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


async def _memory(request: Request) -> Memory:
    return cast(Memory, _state(request).memory)


async def _tokens(request: Request) -> Tokens:
    return cast(Tokens, _state(request).tokens)


async def _courier(request: Request) -> Courier:
    return cast(Courier, _state(request).courier)


async def _notifier(request: Request) -> Notifier:
    return cast(Notifier, _state(request).notifier)


async def _clock(request: Request) -> Clock:
    return cast(Clock, _state(request).clock)


async def _now(request: Request) -> datetime:
    return cast(Clock, _state(request).clock)()


DatabaseDep = Annotated[Database, Depends(_database)]
SettingsDep = Annotated[AppSettings, Depends(_settings)]
HubDep = Annotated[Hub, Depends(_hub)]
TelemetryDep = Annotated[Telemetry, Depends(_telemetry)]
MemoryDep = Annotated[Memory, Depends(_memory)]
TokensDep = Annotated[Tokens, Depends(_tokens)]
CourierDep = Annotated[Courier, Depends(_courier)]
NotifierDep = Annotated[Notifier, Depends(_notifier)]
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


async def _caller(request: Request) -> Caller:
    return cast(Caller, request.state.caller)


_bearer = HTTPBearer(
    scheme_name="token",
    auto_error=False,
    description="A token: that of the service's settings, or one made by `POST /v1/tokens` with the scopes it needs",
)


async def _allowed(
    request: Request,
    needed: SecurityScopes,
    _: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> None:
    caller = await _caller(request)
    for scope in needed.scopes:
        caller.check(cast(Scope, scope))
    route = request.scope["route"]  # whose path does not depend on what the service is mounted under
    if request.query_params and route.path.startswith("/v1/"):
        _check_query(request, route.dependant)


def _check_query(request: Request, dependant: Dependant) -> None:
    """A parameter that is misspelt would be left out without a word, and the answer be that of another question."""
    known = sorted(_query_names(dependant))
    told = f"known here: {', '.join(known)}" if known else "there are none here"
    problems = [
        Problem(
            path=f"query.{name}",
            value=value,
            message="there is no such parameter",
            mend=nearest(name, known, otherwise="remove it; ") + told,
        )
        for name, value in request.query_params.multi_items()
        if name not in known
    ]
    if problems:
        raise Invalid(f"unknown in the query: {', '.join(problem.path for problem in problems[:5])}", problems=problems)


def _query_names(dependant: Dependant) -> set[str]:
    own = {parameter.alias for parameter in dependant.query_params}
    return own.union(*(map(_query_names, dependant.dependencies)))


READ, INGEST, RUN, ADMIN = (Security(_allowed, scopes=[scope]) for scope in SCOPES)
"""Among a route's `dependencies`: the scope that a caller's token must have, 403 otherwise. Each route has one."""
CallerDep = Annotated[Caller, Depends(_caller)]
"""Who sent the request."""
