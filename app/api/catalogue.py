"""What can be trained, with what, and what can be measured."""

from typing import Any, Generic, TypeVar

from fastapi import APIRouter

from app.deps import READ
from app.services import catalogue
from app.services.catalogue import Dataset, MetricView, PresetView, Probe, Stabilizer
from app.services.run_view import View

T = TypeVar("T")

router = APIRouter(prefix="/v1", tags=["catalogue"], dependencies=[READ])


class Catalogue(View, Generic[T]):
    """All there are."""

    items: tuple[T, ...]
    """In the catalogue's order."""


@router.get("/stabilizers", summary="List the toolkit's techniques")
def list_stabilizers() -> Catalogue[Stabilizer]:
    """Every technique with its formula, when it helps, its source, and the schema of its settings."""
    return Catalogue(items=catalogue.stabilizers())


@router.get("/probes", summary="List the probes")
def list_probes() -> Catalogue[Probe]:
    """Every probe with the metrics it measures and the schema of its settings."""
    return Catalogue(items=catalogue.probes())


@router.get("/datasets", summary="List the data sets")
def list_datasets() -> Catalogue[Dataset]:
    """Every data set with the tasks it is for. Whether a worker has it is in GET /v1/workers."""
    return Catalogue(items=catalogue.datasets())


@router.get("/presets", summary="List the presets")
def list_presets() -> Catalogue[PresetView]:
    """Complete specs to start from: healthy ones, and sick ones with the alerts they raise."""
    return Catalogue(items=catalogue.presets())


@router.get("/metrics-catalogue", summary="List what Gyrostat measures")
def list_metrics() -> Catalogue[MetricView]:
    """Every metric with its unit, axis and one stated meaning."""
    return Catalogue(items=catalogue.metrics())


@router.get("/spec-schema", summary="Get the schema of run specs")
def get_spec_schema() -> dict[str, Any]:
    """JSON schema (2020-12) of the whole run spec, with ranges and defaults."""
    return catalogue.spec_schema()
