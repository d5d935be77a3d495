"""`/v1/runs/{id}/frames`, `/layout`, `/events`: what a training process sends, each message stored once."""

import asyncio
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Request

from app.deps import INGEST, DatabaseDep, NowDep, RunId, TelemetryDep
from app.errors import BadRequest, Invalid, UnsupportedMedia
from app.services import ingest
from gyrostat.spec.checks import Problem
from gyrostat.wire import codec
from gyrostat.wire.frame import Batch
from gyrostat.wire.messages import Acknowledgement, EventsMessage, LayoutMessage

router = APIRouter(prefix="/v1/runs/{run_id}", tags=["frames"], dependencies=[INGEST])

_EXAMPLE = {
    "producer": "trainer-1",
    "sequence": 2,
    "attempt": 1,
    "layout": 1,
    "steps": [1, 2],
    "times": [1773480413.5, 1773480413.9],
    "epochs": [0.01, 0.02],
    "columns": [
        {"metric": "loss.train", "values": [2.31, 2.25]},
        {"metric": "gradient.norm", "rows": [1], "values": [[0.5, "NaN", None]]},
    ],
}
_NUMBER = {
    "anyOf": [{"type": "number"}, {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}, {"type": "null"}]
}
_COLUMN = {
    "type": "object",
    "required": ["metric", "values"],
    "additionalProperties": False,
    "properties": {
        "metric": {"type": "string", "description": "Declared by the layout"},
        "values": {
            "type": "array",
            "description": "A number (of a scalar) or a list of numbers for each row; null was not measured",
            "items": {"anyOf": [_NUMBER, {"type": "array", "items": _NUMBER}]},
        },
        "rows": {
            "type": "array",
            "description": "Which frames hold the metric, by position; all where left out",
            "items": {"type": "integer", "minimum": 0},
        },
    },
}
_BATCH = {
    "type": "object",
    "description": "Consecutive frames of one attempt, in columns",
    "required": ["producer", "sequence", "attempt", "layout", "steps", "times", "columns"],
    "additionalProperties": False,
    "properties": {
        "producer": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,64}$", "description": "Who counts the messages"},
        "sequence": {"type": "integer", "minimum": 1, "description": "The message's number, from 1 without gaps"},
        "attempt": {"type": "integer", "minimum": 1},
        "layout": {"type": "integer", "minimum": 1, "description": "Version of the layout that the columns follow"},
        "steps": {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0}, "description": "Rising"},
        "times": {"type": "array", "items": {"type": "number"}, "description": "Seconds since 1970 UTC of each frame"},
        "epochs": {"type": "array", "items": {"type": "number"}},
        "columns": {"type": "array", "items": _COLUMN},
        "recalled": {
            "type": "boolean",
            "default": False,
            "description": "Steps before what was sent last, out of a flight recorder: they add what is missing there",
        },
    },
    "example": _EXAMPLE,
}
_BODY = {
    "required": True,
    "content": {
        codec.JSON: {"schema": _BATCH, "example": _EXAMPLE},
        codec.MSGPACK: {
            "schema": {
                "type": "string",
                "format": "binary",
                "description": "The same keys as a msgpack map, raw arrays",
            }
        },
    },
}


async def _body(request: Request) -> bytes:
    return await request.body()


async def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


@router.post("/frames", summary="Send frames", openapi_extra={"requestBody": _BODY})
async def post_frames(
    run_id: RunId,
    body: Annotated[bytes, Depends(_body)],
    content_type: Annotated[str, Depends(_content_type)],
    database: DatabaseDep,
    telemetry: TelemetryDep,
    now: NowDep,
) -> Acknowledgement:
    """Stores a batch of measurements once, judges it, and answers when both are durable.

    Send it again after any doubt: a number that was stored is acknowledged as a duplicate. `missing` lists numbers
    that never came. The layout that the columns follow must have been sent before. 429 says that more waits to be
    stored than may: send it again after `Retry-After` seconds.
    """
    # arrays are taken as they are, in no time; numbers written as text would hold up every other request
    batch = (
        await asyncio.to_thread(_decoded, body, content_type)
        if content_type == codec.JSON
        else _decoded(body, content_type)
    )
    acknowledgement = await database.write_batch(
        lambda session: ingest.store_frames(session, run_id, batch, now), len(body)
    )
    telemetry.acknowledged(acknowledgement)
    return acknowledgement


@router.post("/layout", summary="Send a layout")
def post_layout(
    run_id: RunId, message: LayoutMessage, database: DatabaseDep, telemetry: TelemetryDep, now: NowDep
) -> Acknowledgement:
    """Stores a version of what the columns of an attempt's frames mean; a changed layout has a new version."""
    acknowledgement = database.write(lambda session: ingest.store_layout(session, run_id, message, now))
    telemetry.acknowledged(acknowledgement)
    return acknowledgement


@router.post("/events", summary="Send events")
def post_events(
    run_id: RunId, message: EventsMessage, database: DatabaseDep, telemetry: TelemetryDep, now: NowDep
) -> Acknowledgement:
    """Stores what happened in the training. The first six kinds change the run's state, of its newest attempt only."""
    acknowledgement = database.write(lambda session: ingest.store_events(session, run_id, message, now))
    telemetry.acknowledged(acknowledgement)
    return acknowledgement


def _decoded(body: bytes, content_type: str) -> Batch:
    readers = {codec.JSON: codec.decode_json, codec.MSGPACK: codec.decode_msgpack}
    if content_type not in readers:
        raise UnsupportedMedia(
            f"Content-Type is {content_type[:100] or 'missing'!r}; frames are {' or '.join(readers)}"
        )
    try:
        return readers[content_type](body)
    except ValueError as error:
        cause: Any = error.__cause__
        if isinstance(cause, msgspec.DecodeError) and not isinstance(cause, msgspec.ValidationError):
            raise BadRequest(f"{error}; send one whole document") from error
        problem = Problem(path="", value=None, message=str(error), mend="see the example in /docs")
        raise Invalid(f"the batch cannot be used: {error}", problems=[problem]) from error
