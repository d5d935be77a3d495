"""TensorBoard: torch's SummaryWriter, a scalar event a point; read over its server's HTTP API, as its page does."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlencode

from torch.utils.tensorboard import SummaryWriter

from benchmarks.ingest import bodies
from benchmarks.peers import store
from gyrostat.wire.frame import Batch

PORT = 18441
SCALARS = "/data/plugin/scalars/scalars"


class Store(store.OneByOne):
    """A folder of event files; its server runs while it is read."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._writer = SummaryWriter(str(place / "run"))
        self._server: store.Server | None = None

    def write(self, batches: Sequence[Batch]) -> None:
        for step, logged in store.values(batches):
            for name, value in logged.items():
                self._writer.add_scalar(name, value, step)
        self._writer.close()
        self._batches = batches

    def open(self) -> None:
        arguments = ("-m", "tensorboard.main", "--logdir", str(self._place), "--port", str(PORT))
        self._server = store.Server(self._place, PORT, *arguments)
        self._server.wait("/data/runs")
        deadline = time.monotonic() + 240  # it reads what there is only after it has begun to answer
        while time.monotonic() < deadline:
            try:
                if self.series(0) >= min(1000, int(self._batches[-1].steps[-1])) and self.newest(0):
                    return
            except RuntimeError:
                pass  # 404: not read yet
            time.sleep(0.5)
        raise RuntimeError("TensorBoard did not read all of it")

    def newest(self, turn: int) -> int:
        # there is no request for it: every series is read, and its last point taken
        metrics = [column.metric for column in self._batches[0].columns]
        return sum(bool(self._points(metric, layer)) for metric in metrics for layer in range(bodies.LAYERS))

    def close(self) -> None:
        if self._server:
            self._server.close()

    def _points(self, metric: str, layer: int) -> int:
        assert self._server is not None
        asked = {"run": "run", "tag": store.series_name(metric, layer)}
        return len(json.loads(self._server.get(f"{SCALARS}?{urlencode(asked)}")))
