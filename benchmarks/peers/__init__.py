"""Other trackers given the same values, each in a process of its own with packages of its own.

Their packages need not fit this project's, nor each other's. For each of `PEERS` whose packages are wanted:

    pip install --target FOLDER/mlflow mlflow

and so on; then `python -m benchmarks.ingest --peers FOLDER`, and `python -m benchmarks.read --peers FOLDER`.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.ingest.ours import Cost


@dataclass(frozen=True)
class Peer:
    """One of them, and how much it is given: some take a thousand times as long as others.

    Attributes:
        package: what is installed and imported; also its folder's name.
        title: what the tables call it.
        module: of this package, with its `Store`.
        most_steps: that it is asked to write, of 1000 points each.
        read_metrics: of 100 layers each, in the run of 1000 steps that it is asked to read.
    """

    package: str
    title: str
    module: str
    most_steps: int
    read_metrics: int


PEERS = (
    Peer("duckdb", "DuckDB, a row a point", "duckdb_rows", 1000, 10),
    Peer("trackio", "trackio, local", "trackio_local", 1000, 10),
    Peer("tensorboard", "TensorBoard", "tensorboard_events", 50, 1),
    Peer("aim", "Aim", "aim_runs", 20, 1),
    Peer("mlflow", "MLflow server on SQLite", "mlflow_server", 20, 1),
)
READ_STEPS = 1000


def available(packages: Path | None) -> Iterator[Peer]:
    """Those that are installed, in that folder or beside this project; the others are told of, and left out."""
    for peer in PEERS:
        if (packages and (packages / peer.package).is_dir()) or importlib.util.find_spec(peer.package):
            yield peer
        else:
            print(f"{peer.package} is not installed, and left out.")


def written(peer: Peer, packages: Path | None, place: Path, steps: int) -> Cost:
    """What it takes to write so many steps of 10 metrics x 100 layers, at a place where nothing is."""
    answer = _ask(peer, packages, place, "--steps", str(steps))
    return Cost(answer["seconds"], answer["cpu_seconds"])


def readings(peer: Peer, packages: Path | None, place: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of each turn of each kind that it can read at all, of a run of READ_STEPS steps."""
    size = ("--steps", str(READ_STEPS), "--metrics", str(peer.read_metrics), "--rounds", str(rounds))
    took: dict[str, list[float]] = _ask(peer, packages, place, *size)["readings"]
    return took


def _ask(peer: Peer, packages: Path | None, place: Path, *options: str) -> Any:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    answer = place.with_name(f"{place.name}.answer")
    own = [str(packages / peer.package)] if packages and (packages / peer.package).is_dir() else []
    path = os.pathsep.join([*own, *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "benchmarks.peers", peer.module, str(place), str(answer), *options]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{peer.title} failed:\n{done.stdout[-1000:]}{done.stderr[-3000:]}")
    return json.loads(answer.read_text())
