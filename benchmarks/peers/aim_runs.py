"""Aim: `Run.track` of every value, into its local repository; read with its SDK."""

from collections.abc import Sequence
from pathlib import Path

from aim import Repo, Run
from aim.sdk.index_manager import RepoIndexManager
from aim.sdk.run import Context

from benchmarks.peers import store
from gyrostat.wire.frame import Batch


class Store(store.OneByOne):
    """A repository with one run."""

    def __init__(self, place: Path) -> None:
        self._place = place
        # without what it records by itself: that is not among the points
        self._run = Run(
            repo=Repo(str(place), init=True),
            system_tracking_interval=None,
            log_system_params=False,
            capture_terminal_logs=False,
        )
        self._name = self._run.hash

    def write(self, batches: Sequence[Batch]) -> None:
        for step, logged in store.values(batches):
            for name, value in logged.items():
                self._run.track(value, name=name, step=step)
        self._run.close()
        self._batches = batches

    def open(self) -> None:
        repo = Repo(str(self._place))
        RepoIndexManager.get_index_manager(repo).index(self._name)  # as its server does; runs are not found before
        self._run = repo.get_run(self._name)

    def newest(self, turn: int) -> int:
        found = self._run.collect_sequence_info(("metric",))["metric"]
        return sum("last" in each["values"] for each in found)

    def _points(self, metric: str, layer: int) -> int:
        found = self._run.get_metric(store.series_name(metric, layer), Context({}))
        steps, _ = found.data.view("val").sample(1000).numpy()
        return len(steps)
