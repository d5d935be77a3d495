"""trackio: `log` of all series at each step, into its local SQLite file; read by what its page's requests call."""

import os
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers import store
from gyrostat.wire.frame import Batch

PROJECT = "bench"


class Store(store.Store):
    """A project with one run."""

    def __init__(self, place: Path) -> None:
        os.environ["TRACKIO_DIR"] = str(place)  # is read when it is imported
        os.environ["HF_HUB_OFFLINE"] = "1"
        import trackio

        self._run = trackio.init(PROJECT, name="run", embed=False, auto_log_gpu=False, auto_log_cpu=False)

    def write(self, batches: Sequence[Batch]) -> None:
        from trackio.sqlite_storage import SQLiteStorage

        for step, logged in store.values(batches):
            self._run.log(logged, step=step)
        self._run.finish()  # gives up after 30 s, with what is left unwritten
        self._batches = batches
        steps, found = sum(len(batch.steps) for batch in batches), SQLiteStorage.get_log_count(PROJECT, "run")
        if found != steps:
            raise RuntimeError(f"trackio has {found} of {steps} steps")

    def series(self, turn: int) -> int:
        from trackio import server

        name = store.series_name(*store.asked(self._batches, turn))
        return len(server.get_metric_values(PROJECT, "run", name, max_points=1000))

    def map(self, turn: int) -> int:
        from trackio import server

        metric, _ = store.asked(self._batches, turn)
        runs = [{"run": "run", "run_id": None}]
        # one point more each time: the answer to the same request is remembered, whatever is drawn of it
        (answer,) = server.get_logs_batch(PROJECT, runs, max_points=1000 + turn)
        names = [store.series_name(metric, layer) for layer in range(self._batches[0].columns[0].values.shape[1])]
        return sum(name in row for row in answer["logs"] for name in names)

    def newest(self, turn: int) -> int:
        from trackio import server

        step = int(self._batches[-1].steps[-1])
        return len(server.get_snapshot(PROJECT, "run", step=step))
