"""What a chart waits for: series, maps and newest values over the HTTP API, at 10^6, 10^7 and 10^8 points, in one run.

100 layers x 10 metrics in runs of 1 000, 10 000 and 100 000 steps, stored through the API. Requests take turns between
the runs and ask for another metric, and another layer, each time. Beside them stand what the machine takes for an
answer that says nothing (`/healthz`), and SQLite by hand: float32 blobs a step and metric, read whole and put into
buckets by numpy. Then other trackers (`benchmarks/peers`), at the 10^5 or 10^6 points that they can take. Then the same
for the longest run with nothing remembered (the backend was started anew, and each request is the first for its
metric), while another run is being written, when the run itself has just got new rows (so that nothing that was put
together is at hand), and with 50 clients at once.
"""

import argparse
import http.client
import json
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import count
from pathlib import Path

import numpy as np

from benchmarks import peers
from benchmarks.ingest import bodies
from benchmarks.ingest.ours import Backend
from benchmarks.ratios import table
from gyrostat.wire import codec

POINTS = 1000
FRAMES = 1000
PORT = 18433
CLIENTS = 50
PEER_ROUNDS = 7
KINDS: dict[str, str] = {
    "series -> 1000 points": "/v1/runs/{run}/metrics/{metric}?points=1000&names={layer}",
    "map, Arrow": "/v1/runs/{run}/metrics/{metric}?points=1000&aggregate=max&format=arrow",
    "map, JSON": "/v1/runs/{run}/metrics/{metric}?points=1000&aggregate=max",
    "newest of all series": "/v1/runs/{run}/latest",
}
GOALS = dict(zip(KINDS, ("4 ms", "3 ms", "6 ms", "1 ms"), strict=True))
NOTHING = "an answer that says nothing"


def main(arguments: list[str] | None = None) -> None:
    """Measures, and prints three tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="of each run")
    parser.add_argument("--rounds", type=int, default=60, help="requests of each kind to each run")
    parser.add_argument("--peers", type=Path, metavar="FOLDER", help="of other trackers' packages: benchmarks/peers")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        with Backend(folder / "ours", port=PORT) as backend:
            runs = {steps: filled(backend, steps) for steps in options.steps}
            took = interleaved(backend, runs, options.rounds)
            by_hand = {steps: sqlite_by_hand(folder / f"{steps}.sqlite", steps) for steps in options.steps}
            print(by_size(took, by_hand))
        print(beside_peers(took[min(took)], min(took), folder, options))
        longest = runs[max(options.steps)]
        backend = stack.enter_context(Backend(folder / "ours", port=PORT, again=True))
        print(in_other_ways(backend, longest, options.rounds))


def filled(backend: Backend, steps: int) -> str:
    """Id of a run with so many steps."""
    layout = bodies.layout(bodies.UNWATCHED)
    run = backend.run(layout)
    for number, batch in enumerate(long_run(steps), 2):
        backend.send(run, [codec.encode_msgpack(batch(number))], codec.MSGPACK)
    backend.settled()
    return run


def long_run(steps: int) -> Iterator[Callable[[int], bodies.Batch]]:
    """Batches of FRAMES frames, each made of its number when it is called: a long run does not fit into memory."""
    (pattern,) = bodies.batches(min(FRAMES, steps), FRAMES, bodies.UNWATCHED)
    for start in range(0, steps, FRAMES):
        yield lambda number, start=start: bodies.moved(pattern, number, start)  # type: ignore[misc]


def interleaved(backend: Backend, runs: Mapping[int, str], rounds: int) -> dict[int, dict[str, list[float]]]:
    """Seconds of each request, by run and kind."""
    took: dict[int, dict[str, list[float]]] = {steps: {kind: [] for kind in (*KINDS, NOTHING)} for steps in runs}
    in_turn = list(runs.items())
    with closing(Reader(backend)) as reader:
        for _ in range(rounds):
            for kind in KINDS:
                for steps, run in in_turn:
                    took[steps][kind].append(reader.read(run, kind))
            for steps, _ in in_turn:
                took[steps][NOTHING].append(reader.get("/healthz"))
            # what follows the largest answer finds the processor's caches emptied: not always the same run shall
            in_turn = in_turn[1:] + in_turn[:1]
    return took


class Reader:
    """One client on one connection, which asks for another metric and layer each time."""

    def __init__(self, backend: Backend) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=120)
        self._headers = backend.headers
        self._numbers = count()

    def read(self, run: str, kind: str, number: int | None = None) -> float:
        """Seconds until the whole answer is there."""
        turn = next(self._numbers) if number is None else number
        metric = bodies.UNWATCHED[turn % len(bodies.UNWATCHED)]
        layer = f"layers.{turn * 7 % bodies.LAYERS}.weight"
        return self.get(KINDS[kind].format(run=run, metric=metric, layer=layer))

    def get(self, path: str) -> float:
        """Seconds until the whole answer to a path is there."""
        began = time.perf_counter()
        self._connection.request("GET", path, headers=self._headers)
        answer = self._connection.getresponse()
        body = answer.read()
        took = time.perf_counter() - began
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {body[:300]!r}")
        return took

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


def sqlite_by_hand(place: Path, steps: int, most: int = 10_000) -> float | None:
    """Seconds to a map of 100 layers x 1000 columns from a blob a step; None for runs longer than `most` steps."""
    if steps > most:
        return None
    with closing(sqlite3.connect(place)) as database:
        database.execute("CREATE TABLE v (m INT, s INT, x BLOB, PRIMARY KEY (m, s)) WITHOUT ROWID")
        rows = np.random.default_rng(0).normal(size=(steps, bodies.LAYERS)).astype(np.float32)
        for metric in range(len(bodies.UNWATCHED)):
            values = ((metric, step, row.tobytes()) for step, row in enumerate(rows))
            database.executemany("INSERT INTO v VALUES (?, ?, ?)", values)
        database.commit()
        took = []
        for turn in range(12):
            began = time.perf_counter()
            found = database.execute("SELECT x FROM v WHERE m = ? ORDER BY s", (turn % 10,)).fetchall()
            values_of = np.frombuffer(b"".join(x for (x,) in found), np.float32).reshape(steps, bodies.LAYERS)
            np.maximum.reduceat(values_of, np.unique(np.linspace(0, steps - 1, POINTS).astype(int)), axis=0)
            took.append(time.perf_counter() - began)
    return statistics.median(took)


def by_size(took: Mapping[int, Mapping[str, list[float]]], by_hand: Mapping[int, float | None]) -> str:
    """The table of medians by length of run, and how they grow."""
    columns: dict[str, dict[str, str]] = {}
    for steps, kinds in took.items():
        column = {kind: milliseconds(seconds) for kind, seconds in kinds.items()}
        hand = by_hand[steps]
        column["map, SQLite by hand"] = "-" if hand is None else f"{1000 * hand:.1f} ms"
        columns[f"{steps * 1000:.0e} points".replace("e+0", "e")] = column
    first, last = min(took), max(took)
    growth = {
        kind: f"{statistics.median(took[last][kind]) / statistics.median(took[first][kind]):.2f}"
        for kind in (*KINDS, NOTHING)
    }
    columns["last over first"] = growth | {"map, SQLite by hand": "-"}
    columns["goal"] = GOALS | {NOTHING: "-", "map, SQLite by hand": "-"}
    return table("Read over HTTP, median [middle half]", columns)


def beside_peers(ours: Mapping[str, list[float]], steps: int, folder: Path, options: argparse.Namespace) -> str:
    """The table of what other trackers that are installed take for the same, of runs that they can take at all."""
    series, _, as_json, newest = KINDS
    kinds = {"series -> 1000 points": series, "map of 100 layers": as_json, "newest of all series": newest}
    rows = {f"ours over HTTP, map as JSON, {1000 * steps:.0e} points": {each: ours[kinds[each]] for each in kinds}}
    for peer in peers.available(options.peers):
        points = peer.read_metrics * bodies.LAYERS * peers.READ_STEPS
        took = peers.readings(peer, options.peers, folder / peer.package, min(options.rounds, PEER_ROUNDS))
        rows[f"{peer.title}, {points:.0e} points"] = took
    columns = {
        kind: {row.replace("e+0", "e"): milliseconds(took[kind]) for row, took in rows.items()} for kind in kinds
    }
    return table("Read beside other trackers, median [middle half]", columns)


def in_other_ways(backend: Backend, run: str, rounds: int) -> str:
    """The table of medians with nothing remembered, as usual, while another run is written, and with many clients."""
    with closing(Reader(backend)) as reader:
        first = {kind: [reader.read(run, kind, turn) for turn in range(len(bodies.UNWATCHED))] for kind in KINDS}
        usual = {kind: [reader.read(run, kind) for _ in range(rounds)] for kind in KINDS}
        with written(backend):
            writing = {kind: [reader.read(run, kind) for _ in range(rounds)] for kind in KINDS}
        grown = growing(backend, run)
        growth = {kind: [reader.read(next(grown), kind) for _ in range(rounds)] for kind in KINDS}
    many = {kind: by_many(backend, run, kind, rounds) for kind in KINDS}
    ways = {
        "nothing remembered": first,
        "as usual": usual,
        "while written": writing,
        "just grown": growth,
        f"{CLIENTS} clients": many,
    }
    columns = {way: {kind: milliseconds(seconds) for kind, seconds in kinds.items()} for way, kinds in ways.items()}
    title = f"The longest run in other ways; with {CLIENTS} clients, an answer's share of the time of all"
    return table(title, columns)


def by_many(backend: Backend, run: str, kind: str, rounds: int) -> list[float]:
    """Seconds an answer, with CLIENTS clients that all ask at once, round by round."""
    readers = [Reader(backend) for _ in range(CLIENTS)]
    try:
        with ThreadPoolExecutor(CLIENTS) as threads:
            shares = []
            for turn in range(max(2, rounds // 10)):
                began = time.perf_counter()
                list(threads.map(lambda each, turn=turn: each.read(run, kind, turn), readers))  # type: ignore[misc]
                shares.append((time.perf_counter() - began) / CLIENTS)
        return shares
    finally:
        for reader in readers:
            reader.close()


def growing(backend: Backend, run: str) -> Iterator[str]:
    """The run, half a second's frames longer each time, which have just been stored."""
    stored = int(json.loads(backend.get(f"/v1/runs/{run}"))["step"])
    (pattern,) = bodies.batches(20, 20, bodies.UNWATCHED)
    for number in count():
        batch = bodies.moved(pattern, stored // FRAMES + 2 + number, stored + 20 * number)
        backend.send(run, [codec.encode_msgpack(batch)], codec.MSGPACK)
        yield run


class written:
    """While the block runs, a training of 40 steps a second sends to a run of its own."""

    def __init__(self, backend: Backend) -> None:
        self._backend, self._done = backend, threading.Event()
        self._thread = threading.Thread(target=self._send)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _send(self) -> None:
        run = self._backend.run(bodies.layout(bodies.UNWATCHED))
        (pattern,) = bodies.batches(20, 20, bodies.UNWATCHED)
        for number in count(2):
            if self._done.wait(0.5):
                return
            batch = bodies.moved(pattern, number, 20 * (number - 2))
            self._backend.send(run, [codec.encode_msgpack(batch)], codec.MSGPACK)


def milliseconds(seconds: list[float]) -> str:
    """Median and middle half."""
    low, middle, high = (1000 * value for value in statistics.quantiles(seconds, n=4))
    return f"{middle:.2f} ms [{low:.2f}-{high:.2f}]"
