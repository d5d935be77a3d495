"""One peer writes, and reads if it is asked to; seconds go to a file as JSON."""

import argparse
import importlib
import json
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from benchmarks.ingest import bodies
from benchmarks.peers.store import Store

FRAMES = 250


def main() -> None:
    """Prints what the peer prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("module")
    parser.add_argument("place", type=Path)
    parser.add_argument("answer", type=Path)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--metrics", type=int, default=len(bodies.UNWATCHED))
    parser.add_argument("--rounds", type=int, default=0, help="of reading")
    options = parser.parse_args()
    made = bodies.batches(options.steps, FRAMES, bodies.UNWATCHED[: options.metrics])
    with closing(importlib.import_module(f"benchmarks.peers.{options.module}").Store(options.place)) as store:
        cpu, began = store.cpu_seconds(), time.perf_counter()
        store.write(made)
        answer = {"seconds": time.perf_counter() - began, "cpu_seconds": store.cpu_seconds() - cpu}
        if options.rounds:
            answer["readings"] = _readings(store, options)
    options.answer.write_text(json.dumps(answer))


def _readings(store: Store, options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of each, in turns; another metric and layer each time, as ours is asked."""
    points = 0.9 * min(options.steps, 1000)
    expected: dict[str, tuple[Callable[[int], int], float]] = {
        "series -> 1000 points": (store.series, points),
        "map of 100 layers": (store.map, points * bodies.LAYERS),
        "newest of all series": (store.newest, options.metrics * bodies.LAYERS),
    }
    store.open()
    took: dict[str, list[float]] = {kind: [] for kind in expected}
    for turn in range(options.rounds):
        for kind, (read, least) in expected.items():
            began = time.perf_counter()
            found = read(turn)
            took[kind].append(time.perf_counter() - began)
            if found < least:
                raise RuntimeError(f"{kind}: {found} values where {least:.0f} were expected")
    return took


main()
