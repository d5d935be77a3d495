"""Whether the service lives, whether it can serve, and its figures for Prometheus."""

from typing import Literal

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from app.deps import READ, DatabaseDep, TelemetryDep
from app.errors import Unavailable
from app.services import scrape
from app.services.run_view import View
from gyrostat import __version__

router = APIRouter(tags=["health"])


class Alive(View):
    """The process answers."""

    status: Literal["ok"] = "ok"
    version: str = __version__


class Ready(View):
    """The service can work."""

    status: Literal["ready"] = "ready"
    revision: str
    """Of the database's tables."""


@router.get("/healthz", summary="Is it alive?")
async def healthz() -> Alive:
    """Answers as long as the process does; needs no token and no database."""
    return Alive()


@router.get("/readyz", dependencies=[READ], summary="Can it serve?")
def readyz(database: DatabaseDep) -> Ready:
    """Whether the database answers and has the tables that this version needs; 503 otherwise."""
    current, head = database.current(), database.head()
    if current != head:
        raise Unavailable(
            f"the database's tables are at revision {current}, this version needs {head}; run `python -m app migrate`",
            retry_after=5,
        )
    return Ready(revision=head)


@router.get(
    "/metrics",
    dependencies=[READ],
    summary="Get figures for Prometheus",
    response_class=Response,
    responses={
        200: {
            "description": "Prometheus text format: the service's own counters, and the newest scalars and open alerts "
            "of the runs that are being trained",
            "content": {
                "text/plain": {
                    "schema": {"type": "string"},
                    "example": 'gyrostat_run_metric{run="5f0c2f9d",name="digits-mlp-1",metric="loss.train"} 0.31\n',
                }
            },
        }
    },
)
def get_metrics(database: DatabaseDep, telemetry: TelemetryDep) -> Response:
    """Counters of the service, and the newest values of at most 200 active runs."""
    return Response(scrape.exposition(database, telemetry), media_type=CONTENT_TYPE_LATEST)
