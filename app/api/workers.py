"""`/v1/workers`: workers introduce themselves, keep in touch, and claim runs."""

import asyncio
import time
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from app.deps import INGEST, READ, Clock, ClockDep, DatabaseDep, HubDep, NowDep, SettingsDep
from app.services import workers as worker_service
from app.services.run_view import View
from app.services.workers import WorkerView
from app.settings import AppSettings
from app.storage.database import Database
from gyrostat.wire.messages import Assignment, Heartbeat, HeartbeatAnswer, Registered, Registration

router = APIRouter(prefix="/v1", tags=["workers"])

WorkerId = Annotated[str, Path(description="Id of the worker", max_length=64, examples=["0b7c61d2a9e8f345"])]


class Workers(View):
    """Every worker that ever registered."""

    items: list[WorkerView]
    """By name."""


@router.get("/workers", dependencies=[READ], summary="List workers")
def list_workers(database: DatabaseDep, settings: SettingsDep, now: NowDep) -> Workers:
    """Every worker with what it trains, and whether it was heard lately."""
    with database.read() as session:
        return Workers(items=worker_service.list_workers(session, settings, now))


@router.post("/workers", status_code=201, dependencies=[INGEST], summary="Register a worker")
def register_worker(body: Registration, database: DatabaseDep, settings: SettingsDep, now: NowDep) -> Registered:
    """A worker introduces itself and gets its id: the same one for the same name.

    What a restarted worker had been training is queued again at once.
    """
    return database.write(lambda session: worker_service.register(session, body, settings, now))


@router.post("/workers/{worker_id}:heartbeat", dependencies=[INGEST], summary="Keep in touch")
def heartbeat(
    worker_id: WorkerId, body: Heartbeat, database: DatabaseDep, settings: SettingsDep, now: NowDep
) -> HeartbeatAnswer:
    """Renews the leases of the runs that the worker names, and answers with commands for them."""
    return database.write(lambda session: worker_service.heartbeat(session, worker_id, body, settings, now))


@router.post(
    "/workers/{worker_id}:claim",
    response_model=Assignment,
    responses={204: {"description": "Nothing was queued for this worker within `wait`"}},
    dependencies=[INGEST],
    summary="Claim a run",
)
async def claim(
    request: Request,
    worker_id: WorkerId,
    database: DatabaseDep,
    settings: SettingsDep,
    hub: HubDep,
    clock: ClockDep,
    wait: Annotated[float, Query(ge=0, le=60, description="Seconds to wait for a run to be queued")] = 0.0,
) -> Assignment | Response:
    """The oldest queued run whose data the worker has, as a new attempt under a lease; 204 where there is none."""
    await request.body()  # what is heard from the client after its body is that it went away
    deadline = time.monotonic() + wait
    async with hub.watching_queue() as queued:
        while True:
            queued.clear()
            assignment = await run_in_threadpool(_claim, database, worker_id, settings, clock)
            if assignment is not None:
                return assignment
            left = deadline - time.monotonic()
            if left <= 0 or hub.closed:
                return Response(status_code=204)
            try:
                await asyncio.wait_for(queued.wait(), left)
            except TimeoutError:
                return Response(status_code=204)
            if await request.is_disconnected():
                return Response(status_code=204)  # nobody is left to train what would be claimed


def _claim(database: Database, worker_id: str, settings: AppSettings, clock: Clock) -> Assignment | None:
    # looking costs no write: most looks find nothing
    with database.read() as session:
        if not worker_service.has_work(session, worker_id):
            return None
    return database.write(lambda session: worker_service.claim(session, worker_id, settings, clock()))
