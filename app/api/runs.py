"""`/v1/runs`: start, list, change, steer, fork and delete runs."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response

from app.deps import READ, RUN, DatabaseDep, NowDep, RunId
from app.services import idempotency, run_history
from app.services import runs as run_service
from app.services.run_history import Checkpoints, History
from app.services.run_requests import (
    PRINTABLE,
    ControlRequest,
    ForkRequest,
    PatchRequest,
    RunRequest,
    ValidateRequest,
)
from app.services.run_view import Page, RunView, State, View
from gyrostat.spec.checks import Problem

router = APIRouter(prefix="/v1", tags=["runs"])

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=128,
        pattern=PRINTABLE,
        description="Repeating a request with the same key and body within 30 days gives the same answer and makes "
        "nothing twice",
        examples=["nightly-2026-03-14"],
    ),
]


class Validity(View):
    """A spec that can be trained."""

    valid: bool
    """True; problems come as an error instead."""
    spec: dict[str, Any]
    """The spec with every default written out."""
    warnings: list[Problem]
    """What is expected to go wrong."""


@router.post("/runs", status_code=201, response_model=RunView, dependencies=[RUN], summary="Start a run")
def create_run(
    body: RunRequest, database: DatabaseDep, now: NowDep, response: Response, key: IdempotencyKey = None
) -> dict[str, Any]:
    """Queues a run for the next free worker, from a `spec` or a `preset`, or registers one that is `attached`.

    Every problem of the spec is listed at once, each with its path and its mend.
    """
    digested = body.model_dump(mode="json")
    made = database.write(
        lambda session: idempotency.once(
            session,
            key,
            "POST /v1/runs",
            digested,
            now,
            lambda: run_service.start(session, body, now).model_dump(mode="json"),
        )
    )
    response.headers["Location"] = f"/v1/runs/{made['id']}"
    return made


@router.post("/runs:validate", dependencies=[READ], summary="Check a spec")
def validate_run(body: ValidateRequest) -> Validity:
    """Writes the spec out with every default and says what is expected to go wrong; trains nothing."""
    validated = run_service.validate(body)
    return Validity(valid=True, spec=validated.spec, warnings=validated.warnings)


@router.get("/runs", dependencies=[READ], summary="List runs")
def list_runs(
    database: DatabaseDep,
    project: Annotated[str | None, Query(max_length=100, description="Only of this project")] = None,
    state: Annotated[list[State] | None, Query(description="Only in one of these states")] = None,
    tag: Annotated[list[str] | None, Query(max_length=20, description="Only with all of these tags")] = None,
    q: Annotated[str | None, Query(max_length=200, description="Text in name, notes or id")] = None,
    parent: Annotated[str | None, Query(max_length=64, description="Only forks of this run")] = None,
    order: Annotated[
        str, Query(max_length=20, description="created_at, updated_at or name; a dash turns it round")
    ] = "-created_at",
    cursor: Annotated[str | None, Query(max_length=1000, description="`next` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=run_service.MAX_PAGE, description="Runs on a page")] = 50,
) -> Page[RunView]:
    """Runs that match everything given, newest first unless asked otherwise."""
    with database.read() as session:
        return run_service.list_runs(
            session,
            project=project,
            state=state,
            tag=tag,
            q=q,
            parent=parent,
            order=order,
            cursor=cursor,
            limit=limit,
        )


@router.get("/runs/{run_id}", dependencies=[READ], summary="Get a run")
def get_run(run_id: RunId, database: DatabaseDep) -> RunView:
    """One run with its spec, state and open alerts."""
    with database.read() as session:
        return run_service.get(session, run_id)


@router.patch("/runs/{run_id}", dependencies=[RUN], summary="Rename or label a run")
def patch_run(run_id: RunId, body: PatchRequest, database: DatabaseDep, now: NowDep) -> RunView:
    """Changes name, project, tags or notes; what is left out stays."""
    return database.write(lambda session: run_service.patch(session, run_id, body, now))


@router.delete("/runs/{run_id}", status_code=204, dependencies=[RUN], summary="Delete a run")
def delete_run(run_id: RunId, database: DatabaseDep) -> None:
    """Deletes a run with everything measured on it. One that is being trained must be stopped first."""
    database.write(lambda session: run_service.delete(session, run_id))


@router.get("/runs/{run_id}/history", dependencies=[READ], summary="Get a run's history")
def get_history(run_id: RunId, database: DatabaseDep) -> History:
    """Every change of its state with reason and time, and every attempt with its worker."""
    with database.read() as session:
        return run_history.history(session, run_id)


@router.get("/runs/{run_id}/checkpoints", dependencies=[READ], summary="List a run's checkpoints")
def get_checkpoints(run_id: RunId, database: DatabaseDep) -> Checkpoints:
    """Checkpoints that are kept; a fork can begin at each."""
    with database.read() as session:
        return run_history.checkpoints(session, run_id)


@router.post("/runs/{run_id}:stop", dependencies=[RUN], summary="Stop a run")
def stop_run(run_id: RunId, database: DatabaseDep, now: NowDep) -> RunView:
    """Ends a run. Where a worker trains it, that writes a last checkpoint first; `wanted` says so until then."""
    return database.write(lambda session: run_service.stop(session, run_id, now))


@router.post("/runs/{run_id}:pause", dependencies=[RUN], summary="Pause a run")
def pause_run(run_id: RunId, database: DatabaseDep, now: NowDep) -> RunView:
    """Lets a run rest, with a checkpoint, and frees its worker."""
    return database.write(lambda session: run_service.pause(session, run_id, now))


@router.post("/runs/{run_id}:resume", dependencies=[RUN], summary="Resume a run")
def resume_run(run_id: RunId, database: DatabaseDep, now: NowDep) -> RunView:
    """Queues a paused run again; it goes on from its last checkpoint."""
    return database.write(lambda session: run_service.resume(session, run_id, now))


@router.post("/runs/{run_id}:control", status_code=202, dependencies=[RUN], summary="Change a running training")
def control_run(run_id: RunId, body: ControlRequest, database: DatabaseDep, now: NowDep) -> RunView:
    """Asks the run's worker to change learning rate, clipping or probe cadence at the next step it can."""
    return database.write(lambda session: run_service.control(session, run_id, body, now))


@router.post("/runs/{run_id}:fork", status_code=201, response_model=RunView, dependencies=[RUN], summary="Fork a run")
def fork_run(
    run_id: RunId,
    body: ForkRequest,
    database: DatabaseDep,
    now: NowDep,
    response: Response,
    key: IdempotencyKey = None,
) -> dict[str, Any]:
    """Queues a new run with this one's spec, patched, from one of its checkpoints or from scratch."""
    digested = {"run": run_id, **body.model_dump(mode="json")}
    made = database.write(
        lambda session: idempotency.once(
            session,
            key,
            "POST /v1/runs:fork",
            digested,
            now,
            lambda: run_service.fork(
                session, run_id, from_step=body.from_step, patch=body.patch, name=body.name, now=now
            ).model_dump(mode="json"),
        )
    )
    response.headers["Location"] = f"/v1/runs/{made['id']}"
    return made
