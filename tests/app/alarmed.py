"""Runs that are trained and go wrong: real rows, real batches, through ingest."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from app.services import alerting
from app.services.alert_view import AlertDetail, AlertView
from app.storage.database import Database
from gyrostat.spec.metrics import METRICS
from gyrostat.wire.layout import Layout, MetricDeclaration
from tests.app.alerts.streams import MATRICES, MODULES, PARAMETERS
from tests.app.control import claim, register, report, start
from tests.app.measured import Sender

MEASURED = ("loss.train", "loss.validation", "gradient.norm", "activation.rms")


def layout(version: int = 1) -> Layout:
    declared = [METRICS[name] for name in MEASURED]
    return Layout(
        version=version,
        axes={"module": list(MODULES), "parameter": list(PARAMETERS), "matrix": list(MATRICES)},
        metrics=[
            MetricDeclaration(name=metric.name, unit=metric.unit, axis=metric.axis, description=metric.description)
            for metric in declared
        ],
    )


def trained(database: Database, *, preset: str = "digits-mlp", **request: Any) -> Sender:
    """A run that a worker trains and whose layout is there; the sender knows its id."""
    run = start(database, preset=preset, **request).id
    worker = register(database)
    assignment = claim(database, worker)
    assert assignment is not None
    assert assignment.run == run
    report(database, run, assignment.attempt, "started")
    sender = Sender(database, run, attempt=assignment.attempt)
    sender.layout(layout())
    return sender


def losses(sender: Sender, steps: Sequence[int], values: Sequence[float]) -> bool:
    """Sends losses; answers whether the probes shall look closer."""
    return sender.frames(steps, {"loss.train": np.asarray(values)}).tighten


def diverge(sender: Sender, first: int = 1) -> None:
    """Ten good steps and ten bad ones."""
    losses(sender, range(first, first + 10), [2.3] * 10)
    losses(sender, range(first + 10, first + 20), [90.0] * 10)


def alerts_of(database: Database, **wanted: Any) -> list[AlertView]:
    with database.read() as session:
        return alerting.list_alerts(session, **wanted).items


def alert(database: Database, alert_id: str) -> AlertDetail:
    with database.read() as session:
        return alerting.get(session, alert_id)
