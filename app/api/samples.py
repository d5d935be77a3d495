"""`/v1/runs/{id}/samples`: pictures of what a generative model makes."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from app.deps import READ, DatabaseDep, RunId
from app.services import samples
from app.services.samples import Samples
from gyrostat.wire.frame import MAX_STEP

router = APIRouter(prefix="/v1/runs/{run_id}/samples", tags=["samples"], dependencies=[READ])

Step = Annotated[int, Path(ge=0, le=MAX_STEP, description="Step of one of the listed pictures", examples=[200])]
At = Annotated[
    int | None,
    Query(ge=0, description="When it was made, seconds since 1970: keeps caches from answering with an older one"),
]

PICTURE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The picture",
        "content": {
            "image/png": {"schema": {"type": "string", "format": "binary"}, "example": "(the bytes of a PNG)"},
        },
    }
}


@router.get("", summary="List a run's samples")
def list_samples(run_id: RunId, database: DatabaseDep) -> Samples:
    """Pictures of what the model made at validation steps, newest first; each is read under its step."""
    with database.read() as session:
        return samples.listed(session, run_id)


@router.get("/{step}.png", summary="Get samples as a picture", response_class=Response, responses=PICTURE)
def get_samples(run_id: RunId, step: Step, database: DatabaseDep, at: At = None) -> Response:
    """What the model made at that step, as a PNG; a later attempt of the run may make another."""
    with database.read() as session:
        body = samples.picture(session, run_id, step)
    # it is an upload: shown as the picture that it was checked to be, and as nothing else
    return Response(body, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})
