"""MLflow: its server on SQLite and its client's `log_batch` of 1000 metrics; read over its REST API."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlencode

from mlflow import MlflowClient
from mlflow.entities import Metric

from benchmarks.peers import store
from gyrostat.wire.frame import Batch

PORT = 18442
AT_ONCE = 1000
"""Metrics that a request may have at most."""
SAMPLED = "/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval"
"""What its page asks: a history of one metric, thinned out by the server."""


class Store(store.OneByOne):
    """A server of one worker with one run."""

    def __init__(self, place: Path) -> None:
        database = f"sqlite:///{place / 'database'}"
        options = ("--backend-store-uri", database, "--artifacts-destination", str(place / "artifacts"))
        self._server = store.Server(
            place, PORT, "-m", "mlflow", "server", *options, "--port", str(PORT), "--workers", "1"
        )
        self._server.wait("/health")
        self._client = MlflowClient(self._server.url)
        self._client.log_metric(self._client.create_run("0").info.run_id, "first", 0.0)  # not measured, as it is slow
        self._run = self._client.create_run("0").info.run_id

    def write(self, batches: Sequence[Batch]) -> None:
        waiting: list[Metric] = []
        for step, logged in store.values(batches):
            now = int(time.time() * 1000)
            waiting += [Metric(name, value, now, step) for name, value in logged.items()]
            while len(waiting) >= AT_ONCE:
                self._client.log_batch(self._run, waiting[:AT_ONCE])
                del waiting[:AT_ONCE]
        if waiting:
            self._client.log_batch(self._run, waiting)
        self._batches = batches

    def newest(self, turn: int) -> int:
        answer = json.loads(self._server.get(f"/api/2.0/mlflow/runs/get?run_id={self._run}"))
        return len(answer["run"]["data"]["metrics"])

    def cpu_seconds(self) -> float:
        return self._server.cpu_seconds()

    def close(self) -> None:
        self._server.close()

    def _points(self, metric: str, layer: int) -> int:
        asked = {"run_ids": self._run, "metric_key": store.series_name(metric, layer), "max_results": 1000}
        return len(json.loads(self._server.get(f"{SAMPLED}?{urlencode(asked)}"))["metrics"])
