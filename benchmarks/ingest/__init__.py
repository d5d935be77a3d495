"""Points a second into durable storage: this project's HTTP API beside what others and bare files take, in one run.

100 layers x 10 metrics, as a training sends them. Ours is measured from the client: a token is checked, the body
decoded, the number checked, every rule that reads the metrics evaluated, and the batch committed with
`synchronous=FULL`; blocks are merged and summed up beside, in the same process. The others do nothing but write: by
hand, and other trackers through what their users call, fewer steps where they are slow. Each turn is a fresh run, or
file; turns are interleaved. Beside the clock stands what a CPU second of the storing process gives, all merging
included (that of PostgreSQL's own processes is not): on a busy machine that is the steadier figure. For MLflow that is
its server; the other trackers store in the process that logs.
"""

import argparse
import os
import sqlite3
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks import peers
from benchmarks.ingest import bodies, others
from benchmarks.ingest.ours import Backend, Cost
from benchmarks.ingest.sustained import sustained, told
from benchmarks.ratios import table
from gyrostat.wire import codec
from tests.databases import NoServer, PostgresServer

SMALL, LARGE = 20, 250
"""Frames of a batch while a training of 40 steps a second runs, and while a backlog is sent."""
PRODUCERS = 16
POINTS_A_STEP = bodies.LAYERS * len(bodies.UNWATCHED)
PORT = 18431
GOALS = {
    f"ours, {LARGE} frames a batch": "6 M",
    f"ours, JSON, {LARGE} frames a batch": "1 M",
    f"ours, all rules, {LARGE} frames a batch": "2 M",
    f"ours, {PRODUCERS} producers, {SMALL} frames a batch": "1.5 M",
    f"ours on PostgreSQL, {LARGE} frames a batch": "1 M",
}


@dataclass
class Variant:
    """One way to store so many points, and what its turns took."""

    points: int
    turn: Callable[[], Cost]
    size: Callable[[], int] | None = None
    """Bytes of what the last turn has stored, of another than ours."""
    costs: list[Cost] = field(default_factory=list)
    stored: int | None = None
    """Bytes after the last turn."""

    def take_turn(self) -> None:
        """Stores the points once more."""
        self.costs.append(self.turn())
        self.stored = self.size() if self.size else None


def main(arguments: list[str] | None = None) -> None:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", type=Path, metavar="FOLDER", help="of other trackers' packages: benchmarks/peers")
    parser.add_argument("--sustained", type=int, metavar="MINUTES", help="send for so long instead, 9 GB of disk in 5")
    parser.add_argument(
        "--rate", type=float, metavar="POINTS", help="sustained: a second, at most (default: what goes)"
    )
    options = parser.parse_args(arguments)
    if options.rate and not options.sustained:
        parser.error("--rate goes with --sustained MINUTES")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.sustained:
            with Backend(folder / "ours", port=PORT) as backend:
                course = sustained(backend, options.sustained, LARGE, options.rate)
            print(told(course), _load(), sep="")
            print(_sizes(folder / "ours" / "gyrostat.sqlite", sum(course.points)))
            return
        with ExitStack() as stack:
            backend = stack.enter_context(Backend(folder / "ours", port=PORT))
            variants = dict(_ours(backend, options.steps)) | dict(_on_postgresql(folder, options.steps, stack))
            stored = [variant for name, variant in variants.items() if "PostgreSQL" not in name]
            variants |= dict(_others(folder, options.steps)) | dict(_peers(folder, options.steps, options.peers))
            for _ in range(options.rounds):
                for variant in variants.values():
                    variant.take_turn()
        print(_table(options, variants))
        points = sum(variant.points * len(variant.costs) for variant in stored)
        print(_sizes(folder / "ours" / "gyrostat.sqlite", points))


def _ours(backend: Backend, steps: int) -> Iterator[tuple[str, Variant]]:
    plain, watched = bodies.layout(bodies.UNWATCHED), bodies.layout(bodies.WATCHED, bodies.WATCHED_SCALARS)
    for frames in (LARGE, SMALL):
        made = bodies.batches(steps, frames, bodies.UNWATCHED)
        points = sum(batch.num_points for batch in made)
        packed = [codec.encode_msgpack(batch) for batch in made]
        yield f"ours, {frames} frames a batch", Variant(points, partial(backend.store, packed, codec.MSGPACK, plain))
    send = partial(backend.store, packed, codec.MSGPACK, plain, producers=PRODUCERS)
    yield f"ours, {PRODUCERS} producers, {SMALL} frames a batch", Variant(points * PRODUCERS, send)
    # text is ten bytes a value, and a body has 8 MiB at most
    made = bodies.batches(steps, LARGE, bodies.UNWATCHED)
    listed = [codec.encode_json(batch) for batch in made]
    yield f"ours, JSON, {LARGE} frames a batch", Variant(points, partial(backend.store, listed, codec.JSON, plain))
    made = bodies.batches(steps, LARGE, bodies.WATCHED, bodies.WATCHED_SCALARS)
    packed = [codec.encode_msgpack(batch) for batch in made]
    send = partial(backend.store, packed, codec.MSGPACK, watched)
    yield f"ours, all rules, {LARGE} frames a batch", Variant(sum(batch.num_points for batch in made), send)


def _on_postgresql(folder: Path, steps: int, stack: ExitStack) -> Iterator[tuple[str, Variant]]:
    try:
        server = PostgresServer(durable=True)
    except NoServer as error:
        print(f"PostgreSQL is left out: {error}")
        return
    stack.callback(server.remove)
    server.start()
    backend = stack.enter_context(Backend(folder / "postgresql", port=PORT + 1, database_url=server.url))
    made = bodies.batches(steps, LARGE, bodies.UNWATCHED)
    packed = [codec.encode_msgpack(batch) for batch in made]
    send = partial(backend.store, packed, codec.MSGPACK, bodies.layout(bodies.UNWATCHED))
    points = sum(batch.num_points for batch in made)
    yield f"ours on PostgreSQL, {LARGE} frames a batch", Variant(points, send)
    send, size = partial(others.postgresql_rows, server.url, made), partial(others.postgresql_size, server.url)
    yield f"PostgreSQL, COPY of a row a point, {LARGE} frames a batch", Variant(points, send, size)


def _others(folder: Path, steps: int) -> Iterator[tuple[str, Variant]]:
    made = bodies.batches(steps, LARGE, bodies.UNWATCHED)
    packed = [codec.encode_msgpack(batch) for batch in made]
    for name, writer in others.WRITERS.items():
        place = folder / writer.__name__
        turn = partial(others.cost, writer, place, made, packed)
        yield (
            f"{name}, {LARGE} frames a batch",
            Variant(sum(batch.num_points for batch in made), turn, partial(_bytes, place)),
        )


def _peers(folder: Path, steps: int, packages: Path | None) -> Iterator[tuple[str, Variant]]:
    for peer in peers.available(packages):
        place, taken = folder / peer.package, min(steps, peer.most_steps)
        size = partial(_bytes, place)
        name = peer.title if taken == steps else f"{peer.title}, the first {taken} steps"
        yield name, Variant(POINTS_A_STEP * taken, partial(peers.written, peer, packages, place, taken), size)


def _table(options: argparse.Namespace, variants: dict[str, Variant]) -> str:
    by_clock = {name: _rate(one, [cost.seconds for cost in one.costs]) for name, one in variants.items()}
    by_cpu = {name: _rate(one, [cost.cpu_seconds for cost in one.costs]) for name, one in variants.items()}
    sizes = {name: f"{one.stored / one.points:.2f}" if one.stored else "" for name, one in variants.items()}
    columns = {
        "points/s": by_clock,
        "points a CPU second": by_cpu,
        "bytes/point": sizes,
        "goal, points/s": {name: GOALS.get(name, "") for name in variants},
    }
    title = f"Ingest of {options.steps} steps x 1000 points, median of {options.rounds} turns, {_load()}"
    return table(title, columns)


def _load() -> str:
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"


def _rate(variant: Variant, seconds: list[float]) -> str:
    rate = variant.points / statistics.median(seconds)
    return f"{rate / 1e6:.2f} M" if rate >= 1e5 else f"{rate / 1e3:.1f} k"


def _bytes(place: Path) -> int:
    files = place.rglob("*") if place.is_dir() else place.parent.glob(f"{place.name}*")
    return sum(file.stat().st_size for file in files if file.is_file())


def _sizes(database: Path, points: int) -> str:
    """Of what is stored in our SQLite file when all is merged; both goals are for series as noisy as these."""
    with closing(sqlite3.connect(database)) as connection:
        sums = connection.execute("SELECT sum(length(body) * (level = 0)), sum(length(body)) FROM block").fetchone()
    raw, all_levels = (size / points for size in sums)
    file = _bytes(database) / points
    return (
        f"Bytes/point of ours, {points / 1e6:.0f} M points, noise of {bodies.NOISE:.0%} a step: {raw:.2f} for "
        f"the rows, {all_levels:.2f} with the pyramid (goals 3.0 and 4.5), {file:.2f} the whole file\n"
    )
