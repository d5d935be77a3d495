"""Server-sent events: what happens to one run, or to all, as it happens."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Header
from sse_starlette import EventSourceResponse, ServerSentEvent

from app.deps import READ, CallerDep, DatabaseDep, HubDep, RunDep, TelemetryDep
from app.guards.tokens import Caller
from app.services.events import Hub, Notice
from app.services.telemetry import Telemetry
from app.storage.database import Database

router = APIRouter(prefix="/v1", tags=["events"], dependencies=[READ])

PING_SECONDS = 15
SEND_SECONDS = 30
"""A reader that takes nothing for so long is let go; it comes back with Last-Event-ID and misses nothing."""

REVOCABLE_SECONDS = 600.0
"""So long a stream lasts that was opened with a token that can be revoked; its reader comes back where it still may."""

LastEventId = Annotated[
    int | None,
    Header(alias="Last-Event-ID", ge=0, le=2**62, description="Go on after this event; browsers send it by themselves"),
]

STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A stream of events of the kinds state, alert, frames, checkpoint, log and others; "
        "`frames` says only that a run has new measurements, and has no id",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": "id: 17\r\nevent: state\r\n"
                'data: {"run": "5f0c2f9d3b1a4e77", "old": "starting", "new": "running", "step": 0}\r\n\r\n'
                'event: frames\r\ndata: {"run": "5f0c2f9d3b1a4e77", "step": 120, "revision": 31}\r\n\r\n',
            }
        },
    }
}


@router.get(
    "/events", summary="Watch all runs", response_class=EventSourceResponse, responses=STREAM, response_model=None
)
async def watch_all(
    database: DatabaseDep, hub: HubDep, telemetry: TelemetryDep, caller: CallerDep, last_event_id: LastEventId = None
) -> EventSourceResponse:
    """Events of every run. After a break, `Last-Event-ID` brings what was missed."""
    return _stream(_watched(database, hub, telemetry, caller, last_event_id))


@router.get(
    "/runs/{run_id}/events",
    summary="Watch a run",
    response_class=EventSourceResponse,
    responses=STREAM,
    response_model=None,
)
async def watch_run(
    run_id: RunDep,
    database: DatabaseDep,
    hub: HubDep,
    telemetry: TelemetryDep,
    caller: CallerDep,
    last_event_id: LastEventId = None,
) -> EventSourceResponse:
    """Events of one run. After a break, `Last-Event-ID` brings what was missed; 0 brings everything."""
    return _stream(_watched(database, hub, telemetry, caller, last_event_id, run=run_id))


def _stream(events: AsyncIterator[ServerSentEvent]) -> EventSourceResponse:
    return EventSourceResponse(events, ping=PING_SECONDS, send_timeout=SEND_SECONDS)


async def _watched(
    database: Database, hub: Hub, telemetry: Telemetry, caller: Caller, last: int | None, *, run: str | None = None
) -> AsyncIterator[ServerSentEvent]:
    with telemetry.viewers.track_inprogress():
        # the first line says that the stream is open, so that a page can tell waiting from broken
        yield ServerSentEvent(comment="watching", retry=1000)
        seconds = REVOCABLE_SECONDS if caller.token else None
        async with aclosing(hub.listen(database, run=run, last=last, seconds=seconds)) as notices:
            async for notice in notices:
                yield _sent(notice)


def _sent(notice: Notice) -> ServerSentEvent:
    number = None if notice.id is None else str(notice.id)
    return ServerSentEvent(data=json.dumps(notice.data, default=str), event=notice.kind, id=number)
