"""What an hour of use adds to the backend's memory: a run is written, watched live, and drawn, and nothing ends.

A training of 100 layers x 10 metrics sends `--rate` frames a second, all rules evaluating; `--viewers` follow the run's
events, and a chart, a map and the newest values are asked for every second. The table tells the backend's resident
memory as it goes; growth is counted from the tenth minute on (from a sixth of a shorter run), when caches are warm.
"""

import argparse
import http.client
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import count
from pathlib import Path

from benchmarks.ingest.bodies import LAYERS, WATCHED, WATCHED_SCALARS, batches, layout, moved
from benchmarks.ingest.ours import Backend
from gyrostat.wire import codec

PORT = 18434
PATTERN_STEPS = 1000
WARM_MINUTES = 10
READS = (
    "/v1/runs/{run}/metrics/{metric}?points=1000&names={layer}",
    "/v1/runs/{run}/metrics/{metric}?points=1000&aggregate=max",
    "/v1/runs/{run}/latest",
    "/v1/alerts?run={run}",
)


def write(backend: Backend, run: str, rate: float, done: threading.Event) -> None:
    """One batch a second until it is done; the pattern is sent again and again, moved on."""
    frames = max(1, round(rate))
    pattern = batches(PATTERN_STEPS // frames * frames, frames, WATCHED, WATCHED_SCALARS)
    began = time.monotonic()
    for number in count():
        if done.wait(max(0.0, began + number - time.monotonic())):
            return
        again, place = divmod(number, len(pattern))
        batch = moved(pattern[place], 2 + number, again * len(pattern) * frames)
        backend.send(run, [codec.encode_msgpack(batch)], codec.MSGPACK)


def read(backend: Backend, run: str, done: threading.Event) -> None:
    """Every second one request of each kind, for another metric and layer each time."""
    with closing(http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)) as connection:
        for number in count():
            if done.wait(1.0):
                return
            for path in READS:
                filled = path.format(
                    run=run, metric=WATCHED[number % len(WATCHED)], layer=f"layers.{number % LAYERS}.weight"
                )
                connection.request("GET", filled, headers=backend.headers)
                answer = connection.getresponse()
                body = answer.read()
                if answer.status not in (200, 404):  # 404: nothing is stored yet
                    raise RuntimeError(f"{filled}: {answer.status} {body[:300]!r}")


def watch(backend: Backend, run: str, done: threading.Event) -> None:
    """Follows the run's events, and connects again where the stream ends."""
    while not done.is_set():
        with closing(http.client.HTTPConnection("127.0.0.1", PORT, timeout=5)) as connection:
            connection.request("GET", f"/v1/runs/{run}/events", headers=backend.headers)
            answer = connection.getresponse()
            try:
                while not done.is_set() and answer.readline():
                    pass
            except TimeoutError:
                continue


@contextmanager
def threads(works: list[Callable[[threading.Event], None]]) -> Iterator[list[str]]:
    """Runs them beside until the end; the list tells which of them failed."""
    done, failed = threading.Event(), list[str]()

    def run(work: Callable[[threading.Event], None]) -> None:
        try:
            work(done)
        except Exception as error:
            failed.append(repr(error))

    started = [threading.Thread(target=run, args=(work,)) for work in works]
    for each in started:
        each.start()
    try:
        yield failed
    finally:
        done.set()
        for each in started:
            each.join()


def main(arguments: list[str] | None = None) -> None:
    """Prints resident memory every so often, and the growth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=5.0, help="frames of 1000 points a second")
    parser.add_argument("--viewers", type=int, default=10)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        backend = stack.enter_context(Backend(Path(name) / "ours", port=PORT))
        run = backend.run(layout(WATCHED, WATCHED_SCALARS))
        works = [lambda done: write(backend, run, options.rate, done), lambda done: read(backend, run, done)]
        works += [lambda done: watch(backend, run, done)] * options.viewers
        failed = stack.enter_context(threads(works))
        warm = min(WARM_MINUTES, options.minutes / 6)
        marks = [warm + (options.minutes - warm) * part / 6 for part in range(7)]
        print("| minute | resident MiB |\n| --- | --- |", flush=True)
        began, held = time.monotonic(), list[float]()
        for mark in marks:
            time.sleep(max(0.0, began + 60 * mark - time.monotonic()))
            held.append(backend.memory() / 2**20)
            print(f"| {mark:.1f} | {held[-1]:.1f} |", flush=True)
            if failed:
                raise RuntimeError("; ".join(failed))
    print(f"\nGrowth from minute {warm:.1f} to {options.minutes:.1f}: {held[-1] - held[0]:.1f} MiB (goal 20 an hour).")


if __name__ == "__main__":
    main()
