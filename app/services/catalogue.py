"""What the toolkit offers, with its formulas, sources and settings; read from the registries of `gyrostat.spec`."""

import inspect
from functools import cache
from typing import Any

from pydantic import BaseModel

from app.services.run_view import View
from gyrostat.spec import run as _all_families  # noqa: F401 - importing the whole spec fills the registries
from gyrostat.spec.catalogue import STABILIZERS
from gyrostat.spec.claims import Shown, claims
from gyrostat.spec.data import DATASETS
from gyrostat.spec.metrics import METRICS
from gyrostat.spec.presets import PRESETS
from gyrostat.spec.probes import PROBES
from gyrostat.spec.run import RunSpec


class Stabilizer(View):
    """A technique of the toolkit."""

    id: str
    family: str
    kind: str
    title: str
    section: str
    """Of the brief; + for what goes beyond it."""
    formula: str
    controls: str
    """What it acts on."""
    when: str
    """When it helps."""
    treats: list[str]
    """Kinds of alerts it can cure."""
    source: str
    settings: dict[str, Any]
    """JSON schema of its settings."""
    shown_by: list[Shown]
    """Studies of its claim: what `make claims` has measured, told in docs/claims.md."""


class Probe(View):
    """Something that can be measured inside a network."""

    name: str
    description: str
    cost: str
    """Of one measurement: cheap (hundredths of a step), moderate (a tenth) or dear (a step or more)."""
    metrics: list[str]
    settings: dict[str, Any]
    """JSON schema of its settings."""


class Dataset(View):
    """Data to learn from."""

    kind: str
    title: str
    description: str
    tasks: list[str]
    shape: list[int] | None
    """Of one sample; null where the file decides."""
    outputs: int | None
    """Classes, or numbers predicted."""
    rows: int | None
    source: str
    settings: dict[str, Any]
    """JSON schema of its settings."""


class PresetView(View):
    """A complete spec to start from."""

    id: str
    title: str
    healthy: bool
    expected_alerts: list[str]
    """Kinds that a sick one raises."""
    task: str
    spec: dict[str, Any]
    """As it is written; POST /v1/runs:validate writes every default out."""


class StageView(View):
    """When in a step a value is taken, what is divided out of it, and over what it is taken."""

    name: str
    when: str
    scale: str
    reduction: str


class MetricView(View):
    """A metric's one stated meaning."""

    name: str
    unit: str
    axis: str
    """What its values are indexed by; `run` for a scalar."""
    stage: StageView
    """When a value is taken, and of what."""
    description: str
    log: bool
    """Whether its values span orders of magnitude."""
    source: str


@cache
def stabilizers() -> tuple[Stabilizer, ...]:
    """Every technique, in the order of the brief."""
    return tuple(
        Stabilizer(
            id=name,
            family=technique.family,
            kind=name.partition(".")[2],
            title=technique.entry.title,
            section=technique.entry.section,
            formula=technique.entry.formula,
            controls=technique.entry.controls,
            when=technique.entry.when,
            treats=list(technique.entry.treats),
            source=technique.entry.source,
            settings=_settings(technique),
            shown_by=claims().get(name, []),
        )
        for name, technique in STABILIZERS.items()
    )


@cache
def probes() -> tuple[Probe, ...]:
    """Every probe."""
    return tuple(
        Probe(
            name=name, description=_text(probe), cost=probe.cost, metrics=list(probe.metrics), settings=_settings(probe)
        )
        for name, probe in PROBES.items()
    )


@cache
def datasets() -> tuple[Dataset, ...]:
    """Every data set."""
    return tuple(
        Dataset(
            kind=kind,
            title=dataset.entry.title,
            description=_text(dataset),
            tasks=list(dataset.entry.tasks),
            shape=None if dataset.entry.shape is None else list(dataset.entry.shape),
            outputs=dataset.entry.outputs,
            rows=dataset.entry.rows,
            source=dataset.entry.source,
            settings=_settings(dataset),
        )
        for kind, dataset in DATASETS.items()
    )


@cache
def presets() -> tuple[PresetView, ...]:
    """Every preset, healthy ones first as they are written."""
    return tuple(
        PresetView(
            id=preset.id,
            title=preset.title,
            healthy=preset.healthy,
            expected_alerts=list(preset.expected_alerts),
            task=preset.spec.task.kind,
            spec=preset.document,
        )
        for preset in PRESETS.values()
    )


@cache
def metrics() -> tuple[MetricView, ...]:
    """Every metric that Gyrostat itself measures."""
    return tuple(MetricView.model_validate(metric) for metric in METRICS.values())


@cache
def spec_schema() -> dict[str, Any]:
    """JSON schema of the whole run spec."""
    return RunSpec.model_json_schema()


def _settings(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


def _text(model: type[BaseModel]) -> str:
    return inspect.cleandoc(model.__doc__ or "")
