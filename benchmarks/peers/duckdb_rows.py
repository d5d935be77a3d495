"""DuckDB: step, metric, layer and value in each row, inserted from arrays; a commit a batch."""

from collections.abc import Sequence
from pathlib import Path

import duckdb
import numpy as np

from benchmarks.ingest import bodies
from benchmarks.peers import store
from gyrostat.wire.frame import Batch


class Store(store.Store):
    """A file, and a connection to it."""

    def __init__(self, place: Path) -> None:
        self._database = duckdb.connect(str(place / "file"))
        self._database.execute("CREATE TABLE v (m INTEGER, l INTEGER, s BIGINT, x FLOAT)")

    def write(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            width = batch.columns[0].values.shape[1]
            count = len(batch.steps) * width
            found = {  # noqa: F841 - the statement below names it
                "m": np.repeat(np.arange(len(batch.columns), dtype=np.int32), count),
                "l": np.tile(np.arange(width, dtype=np.int32), len(batch.steps) * len(batch.columns)),
                "s": np.tile(np.repeat(batch.steps, width), len(batch.columns)),
                "x": np.concatenate([column.values.ravel() for column in batch.columns]),
            }
            self._database.execute("INSERT INTO v SELECT m, l, s, x FROM found")
        self._metrics, self._steps = len(batches[0].columns), int(batches[-1].steps[-1])

    def series(self, turn: int) -> int:
        statement = "SELECT s * 1000 // ? AS b, min(x), max(x) FROM v WHERE m = ? AND l = ? GROUP BY b ORDER BY b"
        asked = [self._steps + 1, turn % self._metrics, turn * 7 % bodies.LAYERS]
        return len(self._database.execute(statement, asked).fetchnumpy()["b"])

    def map(self, turn: int) -> int:
        statement = "SELECT l, s * 1000 // ? AS b, max(x) FROM v WHERE m = ? GROUP BY l, b ORDER BY l, b"
        asked = [self._steps + 1, turn % self._metrics]
        return len(self._database.execute(statement, asked).fetchnumpy()["b"])

    def newest(self, turn: int) -> int:
        return len(self._database.execute("SELECT m, l, arg_max(x, s) AS x FROM v GROUP BY m, l").fetchnumpy()["x"])

    def close(self) -> None:
        self._database.close()
