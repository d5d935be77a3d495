"""`/v1/runs/{id}:measure` and `/measurements`: what is measured once in a running training."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Path

from app.api.runs import IdempotencyKey
from app.deps import READ, RUN, DatabaseDep, NowDep, RunId
from app.services import controls, idempotency, measurements
from app.services.measurements import MeasurementDocument, Measurements, MeasurementView
from gyrostat.spec.measurements import Measurement

router = APIRouter(prefix="/v1/runs", tags=["measurements"])

MeasurementId = Annotated[str, Path(max_length=64, description="Id of the measurement", examples=["c0ffee5f0c2f9d3b"])]
Wanted = Annotated[
    Measurement,
    Body(
        description="What to measure, and how; `kind` tells which settings there are",
        examples=[{"kind": "landscape", "dimensions": 2, "points": 21, "reach": 1.0, "seed": 0}],
    ),
]


@router.post(
    "/{run_id}:measure",
    status_code=202,
    response_model=MeasurementView,
    dependencies=[RUN],
    summary="Measure on demand",
)
def measure_run(
    run_id: RunId, body: Wanted, database: DatabaseDep, now: NowDep, key: IdempotencyKey = None
) -> dict[str, Any]:
    """Asks the run's worker to measure once, between two steps: a loss landscape, a Hessian's spectral density, or CKA.

    The training stands still meanwhile and then goes on as if nothing had been; the budget of the probes does not
    cover it. Read the result under the answer's `id` when its `state` is no longer `waiting`.
    """
    digested = {"run": run_id, **body.model_dump(mode="json")}
    return database.write(
        lambda session: idempotency.once(
            session,
            key,
            "POST /v1/runs:measure",
            digested,
            now,
            lambda: controls.measure(session, run_id, body, now).model_dump(mode="json"),
            status=202,
        )
    )


@router.get("/{run_id}/measurements", dependencies=[READ], summary="List a run's measurements on demand")
def list_measurements(run_id: RunId, database: DatabaseDep) -> Measurements:
    """What has been asked for and what came of it, newest first; the values of each are read under its id."""
    with database.read() as session:
        return measurements.listed(session, run_id)


@router.get("/{run_id}/measurements/{measurement_id}", dependencies=[READ], summary="Get a measurement on demand")
def get_measurement(run_id: RunId, measurement_id: MeasurementId, database: DatabaseDep) -> MeasurementDocument:
    """One measurement with its values, which are null while it is waited for and where it failed."""
    with database.read() as session:
        return measurements.get(session, run_id, measurement_id)
