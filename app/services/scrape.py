"""Prometheus text: the service's own counters, and the newest figures of the runs that are being trained."""

from collections.abc import Iterator

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from app.services.telemetry import Telemetry
from app.storage import scrape as scrape_repository
from app.storage.database import Database
from app.storage.scrape import ActiveRun, Totals

MAX_RUNS = 200
MAX_METRICS = 50


class _Stored(Collector):
    def __init__(self, totals: Totals) -> None:
        self._totals = totals

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Families of what the database holds."""
        alerts = GaugeMetricFamily(
            "gyrostat_alerts", "Alerts of all runs by state and severity.", labels=["state", "severity"]
        )
        for (state, severity), count in sorted(self._totals.alerts.items()):
            alerts.add_metric([state, severity], count)
        yield alerts
        yield GaugeMetricFamily(
            "gyrostat_unmerged_blocks", "Blocks that are not of full size yet.", value=self._totals.unmerged_blocks
        )
        yield GaugeMetricFamily(
            "gyrostat_notifications_waiting",
            "Notifications that are yet to be sent.",
            value=self._totals.notifications_waiting,
        )
        yield GaugeMetricFamily("gyrostat_database_bytes", "Size of the database.", value=self._totals.database_bytes)


class _ActiveRuns(Collector):
    def __init__(self, states: dict[str, int], runs: list[ActiveRun]) -> None:
        self._states = states
        self._runs = runs

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Families of the runs as they were read."""
        states = GaugeMetricFamily("gyrostat_runs", "Runs by state.", labels=["state"])
        for state, count in sorted(self._states.items()):
            states.add_metric([state], count)
        yield states
        steps = GaugeMetricFamily("gyrostat_run_step", "Newest step of an active run.", labels=["run", "name"])
        values = GaugeMetricFamily(
            "gyrostat_run_metric", "Newest value of a scalar of an active run.", labels=["run", "name", "metric"]
        )
        alerts = GaugeMetricFamily(
            "gyrostat_run_open_alerts", "Open alerts of an active run.", labels=["run", "name", "severity"]
        )
        for run in self._runs:
            steps.add_metric([run.id, run.name], run.step)
            for metric, row in run.latest[:MAX_METRICS]:
                if len(row) == 4:
                    values.add_metric([run.id, run.name, metric], float(np.frombuffer(row, "<f4")[0]))
            for severity in ("info", "warning", "critical"):
                alerts.add_metric([run.id, run.name, severity], run.alerts.get(severity, 0))
        yield from (steps, values, alerts)


def exposition(database: Database, telemetry: Telemetry) -> bytes:
    """Everything, in the text format."""
    with database.read() as session:
        states = scrape_repository.num_by_state(session)
        runs = scrape_repository.active_runs(session, MAX_RUNS)
        totals = scrape_repository.totals(session)
    registry = CollectorRegistry()
    registry.register(_Stored(totals))
    registry.register(_ActiveRuns(states, runs))
    return generate_latest(telemetry.registry) + generate_latest(registry)
