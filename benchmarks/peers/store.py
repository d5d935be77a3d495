"""What is asked of a peer, and the server that some of them are."""

import http.client
import subprocess
import sys
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from benchmarks.ingest import bodies
from gyrostat.wire.frame import Batch


class Store(ABC):
    """One peer at a place. Making it starts what has to run; that is not measured.

    Reading methods answer how many values they have got, and take the number of the turn.
    """

    @abstractmethod
    def __init__(self, place: Path) -> None: ...

    @abstractmethod
    def write(self, batches: Sequence[Batch]) -> None:
        """All of it, until the peer says that it is stored."""

    def open(self) -> None:  # noqa: B027 - most read what they have written as it is
        """Makes ready to read."""

    @abstractmethod
    def series(self, turn: int) -> int:
        """One layer of one metric, at most 1000 points where that can be asked for."""

    @abstractmethod
    def map(self, turn: int) -> int:
        """All layers of one metric, at most 1000 points each."""

    @abstractmethod
    def newest(self, turn: int) -> int:
        """The newest value of every series."""

    def cpu_seconds(self) -> float:
        """That the process that stores has taken."""
        return time.process_time()

    def close(self) -> None:  # noqa: B027 - most have nothing that runs
        """Ends what runs."""


class OneByOne(Store):
    """A peer that is asked for one series after another; `write` leaves what it wrote in `_batches`."""

    _batches: Sequence[Batch]

    @abstractmethod
    def _points(self, metric: str, layer: int) -> int:
        """How many points the answer for one series has."""

    def series(self, turn: int) -> int:
        return self._points(*asked(self._batches, turn))

    def map(self, turn: int) -> int:
        metric, _ = asked(self._batches, turn)
        return sum(self._points(metric, layer) for layer in range(bodies.LAYERS))


def values(batches: Sequence[Batch]) -> Iterator[tuple[int, dict[str, float]]]:
    """Step by step: the step, and what training code would log then, by name."""
    for batch in batches:
        columns = [(column.metric, column.values.tolist()) for column in batch.columns]
        for place, step in enumerate(batch.steps.tolist()):
            yield step, {series_name(m, i): x for m, rows in columns for i, x in enumerate(rows[place])}


def series_name(metric: str, layer: int) -> str:
    """As a run's series are called."""
    return f"{metric}/layers.{layer}.weight"


def asked(batches: Sequence[Batch], turn: int) -> tuple[str, int]:
    """The metric and layer whose turn it is."""
    columns = batches[0].columns
    return columns[turn % len(columns)].metric, turn * 7 % bodies.LAYERS


class Server:
    """A program that answers HTTP at a port, with all processes that it starts."""

    def __init__(self, place: Path, port: int, *arguments: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._log = place.with_name(f"{place.name}.log")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([sys.executable, *arguments], stdout=log, stderr=log, cwd=place)
        self._watched = psutil.Process(self._process.pid)
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)

    def wait(self, path: str, seconds: float = 240) -> None:
        """Until it answers."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                pass
            time.sleep(0.2)
        raise RuntimeError(f"no answer from {self.url}{path}: {self._log.read_text()[-2000:]}")

    def get(self, path: str) -> bytes:
        """The whole answer to a path, over one connection that stays."""
        self._connection.request("GET", path)
        answer = self._connection.getresponse()
        found = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {found[:300]!r}")
        return found

    def cpu_seconds(self) -> float:
        """Of all its processes."""
        processes = [self._watched, *self._watched.children(recursive=True)]
        return float(sum(sum(each.cpu_times()[:2]) for each in processes))

    def close(self) -> None:
        """Ends it and what it has started."""
        self._connection.close()
        started = self._watched.children(recursive=True)
        self._process.terminate()
        self._process.wait(60)
        for left in started:
            if left.is_running():
                left.kill()
