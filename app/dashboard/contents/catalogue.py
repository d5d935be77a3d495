"""What the catalogue page lists, section by section, from the registries."""

import inspect
import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from app.alerts.base import DETECTORS
from app.dashboard.looks import kind_title, words
from app.dashboard.spec_form import bounds
from app.services import catalogue

_TONES = {"holds": "ok", "does not hold": "critical", "not decided": "warning"}


class Setting(NamedTuple):
    """One setting of an entry."""

    name: str
    default: str
    bounds: str
    text: str


class Study(NamedTuple):
    """A study of an entry's claim, and what it says of it."""

    claim: str
    decision: str
    effect: str
    tone: str


class Entry(NamedTuple):
    """One card. `facts`: labelled lines; `studies`: what was measured of its claim."""

    id: str
    title: str
    text: str
    formula: str
    facts: tuple[tuple[str, str], ...]
    settings: tuple[Setting, ...]
    source: str
    studies: tuple[Study, ...] = ()


class Section(NamedTuple):
    """Cards under one heading."""

    id: str
    title: str
    entries: tuple[Entry, ...]


@cache
def sections() -> tuple[Section, ...]:
    """The whole catalogue: techniques by family, then what measures, judges and feeds them."""
    return (
        *_techniques(),
        Section("probes", "Probes", tuple(_probes())),
        Section("metrics", "Metrics", tuple(_metrics())),
        Section("detectors", "Alert rules", tuple(_detectors())),
        Section("datasets", "Data sets", tuple(_datasets())),
    )


def _techniques() -> Iterator[Section]:
    families: dict[str, list[Entry]] = {}
    for item in catalogue.stabilizers():
        facts = [("Controls", item.controls), ("When", item.when)]
        if item.treats:
            facts.append(("Treats", ", ".join(kind_title(kind).lower() for kind in item.treats)))
        studies = tuple(
            Study(shown.claim, shown.decision, shown.effect, _TONES[shown.decision]) for shown in item.shown_by
        )
        settings = _settings(item.settings)
        entry = Entry(item.id, item.title, "", item.formula, tuple(facts), settings, item.source, studies)
        families.setdefault(item.family, []).append(entry)
    for family, entries in families.items():
        yield Section(family, words(family), tuple(entries))


def _probes() -> Iterator[Entry]:
    for probe in catalogue.probes():
        facts = (("Measures", ", ".join(probe.metrics)), ("Cost", probe.cost))
        yield Entry(
            f"probe.{probe.name}", words(probe.name), probe.description, "", facts, _settings(probe.settings), ""
        )


def _metrics() -> Iterator[Entry]:
    for metric in catalogue.metrics():
        axis = "the run" if metric.axis == "run" else f"each {metric.axis}"
        unit = "pure number" if metric.unit == "1" else metric.unit
        stage = metric.stage
        facts = (("Of", axis), ("Unit", unit), ("Taken", stage.when), ("Scale", stage.scale), ("Over", stage.reduction))
        yield Entry(f"metric.{metric.name}", metric.name, metric.description, "", facts, (), metric.source)


def _detectors() -> Iterator[Entry]:
    for kind, detector in DETECTORS.items():
        facts = (
            ("Severity", detector.severity),
            ("Reads", ", ".join(detector.metrics) or "the worker's heartbeat"),
            ("Opens after", _evaluations(detector.hold, "breached")),
            ("Resolves after", _evaluations(detector.quiet, "clean")),
        )
        schema = detector.model_json_schema()
        yield Entry(f"rule.{kind}", detector.title, detector.explanation, "", facts, _settings(schema), detector.source)


def _datasets() -> Iterator[Entry]:
    for data in catalogue.datasets():
        facts = [("For", ", ".join(words(task).lower() for task in data.tasks))]
        if data.rows is not None:
            facts.append(("Samples", f"{data.rows:,}"))
        if data.shape is not None:
            facts.append(("Shape", " × ".join(map(str, data.shape))))
        yield Entry(
            f"dataset.{data.kind}",
            data.title,
            data.description,
            "",
            tuple(facts),
            _settings(data.settings),
            data.source,
        )


def _settings(schema: Mapping[str, Any]) -> tuple[Setting, ...]:
    required = schema.get("required", ())
    return tuple(
        Setting(
            name=name,
            default="required" if name in required else json.dumps(each.get("default"), ensure_ascii=False),
            bounds=bounds(each),
            text=inspect.cleandoc(each.get("description", "")),
        )
        for name, each in schema.get("properties", {}).items()
        if name != "kind"
    )


def _evaluations(number: int, what: str) -> str:
    return f"{number} {what} evaluation{'s' * (number != 1)} in a row"
