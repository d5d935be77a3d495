"""What the run page shows besides its charts."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from app.dashboard import formats
from app.dashboard.contents import measurements as measurements_content
from app.dashboard.contents.alert_cards import cards_of_run
from app.dashboard.contents.newest import newest_scalars
from app.dashboard.panels.generic import family_of, generic_panel, is_drawn
from app.dashboard.panels.registry import PANELS, Panel
from app.dashboard.verdict import verdict
from app.dashboard.vitals import vitals
from app.services import lifecycle, run_history, samples
from app.services import metrics as metric_service
from app.services import runs as run_service
from app.services.metrics import Measured
from app.services.run_view import RunView
from app.storage.database import Session
from gyrostat.spec.checks import Problem
from gyrostat.spec.losses import CLASS_TASKS
from gyrostat.spec.parse import SpecError, parse
from gyrostat.spec.probes import PROBES

MAX_GENERIC = 120
"""Panels of metrics that have none of their own, at most; in closed families they cost nothing."""
_ALWAYS = ("loss", "accuracy", "learning-rate")


def context(session: Session, run_id: str, now: datetime) -> dict[str, Any]:
    """Everything that templates/run.html and its parts name.

    Raises:
        NotFound: there is no such run.
    """
    run = run_service.get(session, run_id)
    history = run_history.history(session, run_id)
    checkpoints = run_history.checkpoints(session, run_id).items
    measured = metric_service.catalogue(session, run_id)
    newest = newest_scalars(session, run_id)
    alerts = cards_of_run(session, run)
    spec = run.spec or {}
    return {
        "run": run,
        "verdict": verdict(run.state, run.reason, run.step, alerts),
        "vitals": vitals(newest, step=run.step, budget=(spec.get("probes") or {}).get("budget")),
        "alerts": alerts,
        "inbox": False,
        "first_alert": alerts[0].id if alerts else "",
        "actions": actions(run),
        "ran_for": _ran_for(run, now),
        "families": families_of(run, measured),
        "waiting_text": "Charts appear with the first frame that arrives.",
        "samples": samples.listed(session, run_id).items,
        "measured": measurements_content.section(session, run),
        "measure_choices": measurements_content.CHOICES,
        "metrics": measured,
        "transitions": history.transitions,
        "attempts": history.attempts,
        "checkpoints": checkpoints,
        "checkpoint_steps": sorted({each.step for each in checkpoints}, reverse=True),
        "warnings": _warnings(spec) if run.spec else [],
        "spec_summary": _spec_summary(spec),
        "facts": facts(run),
    }


def version(session: Session, run_id: str) -> tuple[int, int, str]:
    """Differs whenever something that the run's page shows has changed; costs one small read.

    Raises:
        NotFound: there is no such run.
    """
    run = run_service.found(session, run_id)
    return run.revision, run.step, run.state


def actions(run: RunView) -> set[str]:
    """What the buttons at the top offer in the run's state."""
    offered = set()
    if run.state in ("queued", *lifecycle.LIVE) and run.wanted is None:
        offered |= {"stop"} | ({"pause"} if run.spec else set())
    if run.state == "paused":
        offered |= {"resume", "stop"}
    if run.spec is not None:
        offered.add("fork")
    return offered


class Family(NamedTuple):
    """Panels that stay together; without a title they are the ones that a reader sees first."""

    slug: str
    title: str
    panels: list[Panel]


def families_of(run: RunView, measured: Sequence[Measured]) -> list[Family]:
    """Panels of what the run measures and, while it may still go on, of what its spec says that it will.

    First come the panels made by hand and what the training itself measures, then the catalogue's further metrics,
    family by family.
    """
    names = {metric.name for metric in measured}
    expected = set() if run.state in lifecycle.ENDED or run.spec is None else _expected(run.spec)
    shown = [panel for panel in PANELS.values() if names & set(panel.metrics) or panel.slug in expected]
    own = [metric for metric in measured if not is_drawn(metric.name) and not _is_vital(metric.name)]
    families: dict[str, list[Panel]] = {"": shown}
    for each in own[:MAX_GENERIC]:
        panel = generic_panel(each.name, each.axis, each.description)
        families.setdefault(family_of(each.name), []).append(panel)
    return [Family(title.lower().replace(" ", "-"), title, panels) for title, panels in families.items()]


def _expected(spec: Mapping[str, Any]) -> set[str]:
    probes = spec.get("probes") or {}
    watched = {
        metric
        for name, probe in PROBES.items()
        if (probes.get(name) or {}).get("enabled", True)
        for metric in probe.metrics
    }
    if spec["model"]["kind"] != "transformer":
        watched -= set(PROBES["attention"].metrics)
    always = set(_ALWAYS) - (set() if spec["task"]["kind"] in CLASS_TASKS else {"accuracy"})
    return always | {slug for slug, panel in PANELS.items() if watched & set(panel.metrics)}


def _is_vital(metric: str) -> bool:
    # shown as a number, or drawn as a share of something else
    return metric.startswith(("throughput.", "memory.", "probe.", "progress.")) or metric in (
        "curvature.sharpness_over_limit",
        "weight.norm",
        "activation.mean",
        "activation.max_abs",
    )


def facts(run: RunView) -> list[tuple[str, str]]:
    """The spec in a few lines, and what somebody wrote about the run."""
    kept = [("Measurements", f"summaries since {run.thinned_at:%Y-%m-%d}")] if run.thinned_at else []
    end = [*kept, ("Id", run.id), *([("Notes", run.notes)] if run.notes else [])]
    if run.spec is None:
        return [("Source", "attached from outside"), *end]
    spec = run.spec
    model, optimizer, schedule = spec["model"], spec["optimizer"], spec["schedule"]
    parts = [f"{model['depth']} × {model['width']}"] + [
        str(model[key]["kind"]).replace("_", " ") for key in ("activation", "norm", "connection") if model.get(key)
    ]
    listed = [
        ("Task", f"{spec['task']['kind']} on {spec['task']['dataset']['kind']}".replace("_", " ")),
        ("Model", f"{model['kind']}, " + ", ".join(parts)),
        ("Initialization", str((spec.get("init") or {"kind": "torch's default"})["kind"]).replace("_", " ")),
        ("Optimizer", f"{_optimizer(optimizer)}, {schedule['kind']}".replace("_", " ")),
        ("Batch", formats.count(spec["data"]["batch_size"])),
        ("Seed", str(spec["seed"])),
    ]
    if run.worker:
        listed.append(("Worker", run.worker + (f", attempt {run.attempt}" if run.attempt > 1 else "")))
    return [*listed, *end]


def _optimizer(optimizer: Mapping[str, Any]) -> str:
    if optimizer["kind"] == "sam":  # the rate is that of the optimizer that it is around
        return f"sam around {_optimizer(optimizer['base'])}"
    return f"{optimizer['kind']}, rate {optimizer['learning_rate']:g}"


def _spec_summary(spec: Mapping[str, Any]) -> str:
    return f"{spec['model']['kind']} on {spec['task']['dataset']['kind']}".replace("_", " ") if spec else "attached"


def _warnings(spec: Mapping[str, Any]) -> list[Problem]:
    try:
        return parse(spec).warnings
    except SpecError as error:  # stored by an older version whose fields have changed since: say so, show the rest
        return error.problems


def _ran_for(run: RunView, now: datetime) -> str:
    if run.started_at is None:
        return ""
    return formats.duration(((run.ended_at or now) - run.started_at).total_seconds())
