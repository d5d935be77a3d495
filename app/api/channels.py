"""`/v1/channels`: where alerts are told."""

import logging
from typing import Annotated

from fastapi import APIRouter, Path, Query

from app.deps import ADMIN, CallerDep, ClockDep, CourierDep, DatabaseDep, NotifierDep, NowDep
from app.services import channels as channel_service
from app.services.channel_view import ChannelPatch, ChannelRequest, Channels, ChannelView, DeliveryView, NewChannel
from app.services.run_view import Page

router = APIRouter(prefix="/v1", tags=["channels"], dependencies=[ADMIN])

ChannelId = Annotated[str, Path(description="Id of the channel", max_length=64, examples=["3e9a70c1d2b4f586"])]

_log = logging.getLogger(__name__)


@router.get("/channels", summary="List channels")
def list_channels(database: DatabaseDep) -> Channels:
    """Every channel with what was last sent through it, in the order they were made, without their secrets."""
    with database.read() as session:
        return Channels(items=channel_service.list_channels(session))


@router.post("/channels", status_code=201, summary="Make a channel")
def create_channel(
    body: ChannelRequest, database: DatabaseDep, courier: CourierDep, now: NowDep, caller: CallerDep
) -> NewChannel:
    """Makes a channel, where its target is public or allowed by the operator.

    A webhook's secret is in this answer and in no other.
    """
    target = channel_service.prepared(body, courier)
    made = database.write(lambda session: channel_service.create(session, body, target, now))
    _log.info("a channel was made", extra={"channel": made.id, "kind": made.kind, "by": caller.name})
    return made


@router.get("/channels/{channel_id}", summary="Get a channel")
def get_channel(channel_id: ChannelId, database: DatabaseDep) -> ChannelView:
    """One channel with what was last sent through it, without its secrets."""
    with database.read() as session:
        return channel_service.get(session, channel_id)


@router.patch("/channels/{channel_id}", summary="Change a channel")
def change_channel(
    channel_id: ChannelId,
    body: ChannelPatch,
    database: DatabaseDep,
    courier: CourierDep,
    now: NowDep,
    caller: CallerDep,
) -> ChannelView:
    """Changes what is given; the target is checked anew. A channel that is switched off gives up what waits for it."""
    change = channel_service.prepared_change(database, channel_id, body, courier)
    changed = database.write(lambda session: change(session, now))
    _log.info("a channel was changed", extra={"channel": channel_id, "by": caller.name})
    return changed


@router.delete("/channels/{channel_id}", status_code=204, summary="Delete a channel")
def delete_channel(channel_id: ChannelId, database: DatabaseDep, caller: CallerDep) -> None:
    """Forgets a channel with all that was told through it; what waits for it is not sent."""
    database.write(lambda session: channel_service.delete(session, channel_id))
    _log.info("a channel was deleted", extra={"channel": channel_id, "by": caller.name})


@router.post("/channels/{channel_id}:test", summary="Try a channel")
def test_channel(channel_id: ChannelId, database: DatabaseDep, notifier: NotifierDep, clock: ClockDep) -> DeliveryView:
    """Sends a message now, also where the channel is switched off, and answers what came of it: `sent` or `failed`."""
    return channel_service.test(database, notifier, channel_id, clock)


@router.get("/channels/{channel_id}/deliveries", summary="List what was told")
def list_deliveries(
    channel_id: ChannelId,
    database: DatabaseDep,
    cursor: Annotated[str | None, Query(max_length=100, description="`next` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=channel_service.MAX_PAGE, description="Messages on a page")] = 50,
) -> Page[DeliveryView]:
    """What was told through a channel and what waits, newest first; the newest 200 that wait no more are kept."""
    with database.read() as session:
        return channel_service.deliveries(session, channel_id, cursor=cursor, limit=limit)
