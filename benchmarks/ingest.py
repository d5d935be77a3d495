"""Points a second into durable storage: this project's HTTP API beside SQLite by hand and a plain file, in one run.

100 layers x 10 metrics, as a training would send them. The API's figure includes decoding, the sequence check, every
detector, the alerts and a commit with `synchronous=FULL`; the references do nothing but write. A turn is a fresh
run, or file, of `--steps` frames.
"""

import argparse
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np

from benchmarks.ratios import interleaved, table
from gyrostat.wire import codec
from gyrostat.wire.frame import Batch, Column
from gyrostat.wire.layout import Layout, MetricDeclaration
from gyrostat.wire.messages import LayoutMessage

LAYERS, METRICS, FRAMES = 100, 10, 20
PORT = 18431


def layout() -> Layout:
    names = [f"layers.{index}.weight" for index in range(LAYERS)]
    declared = [MetricDeclaration(name=f"bench.metric_{i}", unit="1", axis="parameter") for i in range(METRICS)]
    return Layout(version=1, axes={"parameter": names}, metrics=declared)


def batches(steps: int) -> list[Batch]:
    """Slowly drifting, noisy norms, as real ones are."""
    random = np.random.default_rng(0)
    drift = np.exp(random.normal(0, 0.02, (METRICS, steps, LAYERS)).cumsum(axis=1)).astype(np.float32)
    made = []
    for sequence, start in enumerate(range(0, steps, FRAMES), 2):
        rows = np.arange(min(FRAMES, steps - start), dtype=np.uint32)
        columns = tuple(
            Column(metric=f"bench.metric_{i}", rows=rows, values=drift[i, start : start + FRAMES])
            for i in range(METRICS)
        )
        made.append(
            Batch(
                producer="bench", sequence=sequence, attempt=1, layout=1,
                steps=np.arange(start + 1, start + 1 + len(rows)), times=np.full(len(rows), time.time()),
                epochs=np.zeros(len(rows)), columns=columns,
            )
        )  # fmt: skip
    return made


class Backend:
    """`python -m app serve` on a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "app", "serve", "--port", str(PORT), "--data", str(folder)]
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{PORT}", timeout=60)
        deadline = time.monotonic() + 30
        while True:
            try:
                if self.http.get("/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(f"the backend did not start: {(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.1)

    def new_run(self) -> str:
        run = self.http.post("/v1/runs", json={"attached": True}).raise_for_status().json()["id"]
        message = LayoutMessage(producer="bench", sequence=1, attempt=1, layout=layout())
        self.http.post(f"/v1/runs/{run}/layout", json=message.model_dump()).raise_for_status()
        return str(run)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)


def through_api(backend: Backend, bodies: list[bytes], kind: str) -> Callable[[], float]:
    def turn() -> float:
        run = backend.new_run()
        began = time.perf_counter()
        for body in bodies:
            backend.http.post(f"/v1/runs/{run}/frames", content=body, headers={"Content-Type": kind}).raise_for_status()
        return time.perf_counter() - began

    return turn


def sqlite_blobs(folder: Path, made: list[Batch]) -> Callable[[], float]:
    """A float32 blob per step and metric, a commit per batch, `synchronous=FULL`."""

    def turn() -> float:
        path = folder / "blobs.sqlite"
        path.unlink(missing_ok=True)
        database = sqlite3.connect(path)
        database.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE v (m TEXT, s INT, b BLOB)"
        )
        began = time.perf_counter()
        for batch in made:
            database.executemany(
                "INSERT INTO v VALUES (?, ?, ?)",
                [
                    (c.metric, int(step), row.tobytes())
                    for c in batch.columns
                    for step, row in zip(batch.steps, c.values, strict=False)
                ],
            )
            database.commit()
        took = time.perf_counter() - began
        database.close()
        return took

    return turn


def file_append(folder: Path, bodies: list[bytes]) -> Callable[[], float]:
    """The encoded batches appended to a file, an fsync each: the floor."""

    def turn() -> float:
        with (folder / "append").open("wb") as file:
            began = time.perf_counter()
            for body in bodies:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            return time.perf_counter() - began

    return turn


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    made = batches(options.steps)
    packed, listed = [codec.encode_msgpack(batch) for batch in made], [codec.encode_json(batch) for batch in made]
    points = sum(batch.num_points for batch in made)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        backend = Backend(folder)
        seconds: dict[str, list[float]] = {}

        def remembered(name: str, turn: Callable[[], float]) -> Callable[[], float]:
            def measure() -> float:
                seconds.setdefault(name, []).append(turn())
                return seconds[name][-1]

            return measure

        turns = {
            "HTTP API, msgpack": through_api(backend, packed, codec.MSGPACK),
            "HTTP API, JSON": through_api(backend, listed, codec.JSON),
            "SQLite blob a step and metric, by hand": sqlite_blobs(folder, made),
            "file append + fsync": file_append(folder, packed),
        }
        try:
            ratios = interleaved(
                {name: remembered(name, turn) for name, turn in turns.items()},
                reference="SQLite blob a step and metric, by hand",
                rounds=options.rounds,
            )
        finally:
            backend.close()
    rates = {name: f"{points / sorted(of)[len(of) // 2] / 1e6:.2f} M" for name, of in seconds.items()}
    print(table(f"Ingest of {points} points, one producer", {"points/s": rates, "time, over SQLite by hand": ratios}))


if __name__ == "__main__":
    main()
