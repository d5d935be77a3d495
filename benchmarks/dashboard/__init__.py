"""What a person waits for: a run's page in a real Chromium, and what many viewers of one run cost.

Two runs that measure every metric of the catalogue, eight of them at each step: 100 layers in 100 000 steps, and
10 000 layers in 1 000. A page is *usable* when every chart of the first screen is painted and no long task follows;
opened with empty caches, and opened again. Then how long after a measurement the open page shows it, through the stream
of a training. Last, viewers of the long run while it trains two steps a second: each listens, and fetches what the page
fetches; what the backend asks its database, and what of a processor it takes.
"""

import argparse
import asyncio
import statistics
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser

from benchmarks.dashboard import browser as watching
from benchmarks.dashboard.backend import Backend, serving
from benchmarks.dashboard.browser import Visit
from benchmarks.dashboard.training import Training
from benchmarks.dashboard.viewers import watch
from benchmarks.ratios import table
from tests.app.dashboard.browser.chromium import launched, program

RUNS = {100: 100_000, 10_000: 1_000}
"""Layers -> steps."""
GOALS = {100: 2.0, 10_000: 3.0}
"""Layers -> seconds until the page is usable."""
TRAINING_SECONDS = 0.5
WATCHED = 15.0


def main(arguments: list[str] | None = None) -> None:
    """Measures, and prints three tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shorter", type=int, default=1, help="divides the number of steps")
    parser.add_argument("--rounds", type=int, default=7, help="visits of each kind, and measurements waited for")
    parser.add_argument("--viewers", type=int, nargs="+", default=[1, 50, 200])
    options = parser.parse_args(arguments)
    path = program()
    if path is None:
        raise SystemExit("no Chromium on the PATH; on Debian: apt-get install chromium")
    with tempfile.TemporaryDirectory() as name, serving(Path(name) / "data") as backend:
        trainings = [Training(backend.http, layers) for layers in RUNS]
        for training in trainings:
            training.train(max(1, RUNS[training.layers] // options.shorter))
        backend.settle()
        with launched(path) as browser:
            print(until_usable(browser, backend, trainings, options.rounds), flush=True)
            print(until_shown(browser, backend, trainings, Path(name), options.rounds), flush=True)
        print(of_viewers(backend, trainings[0], options.viewers))


def until_usable(browser: Browser, backend: Backend, trainings: Sequence[Training], rounds: int) -> str:
    """The table of visits."""
    columns: dict[str, dict[str, str]] = {}
    for training in trainings:
        address = f"{backend.url}/runs/{training.run}"
        first, again = [], []
        for _ in range(rounds):
            with watching.fresh(browser) as page:
                first.append(watching.visit(page, address))
                again.append(watching.visit(page, address))
        for way, visits in (("first visit", first), ("again", again)):
            columns[f"{training.layers:,} layers, {way}"] = {
                "charts of the first screen painted": _seconds([each.drawn for each in visits]),
                "usable": _seconds([each.usable for each in visits]),
                "goal": f"{GOALS[training.layers]:.0f} s",
                "charts, requests, KiB until then": _fetched(visits),
            }
    return table("A run's page, from the start of the navigation, median [middle half]", columns)


def _fetched(visits: Sequence[Visit]) -> str:
    each = visits[len(visits) // 2]
    return f"{each.panels}, {each.requests}, {each.kib:,.0f}"


def until_shown(browser: Browser, backend: Backend, trainings: Sequence[Training], folder: Path, rounds: int) -> str:
    """The table of latencies."""
    columns: dict[str, dict[str, str]] = {}
    for training in trainings:
        with watching.fresh(browser) as page:
            watching.visit(page, f"{backend.url}/runs/{training.run}")
            spool = folder / f"spool-{training.layers}"
            found = watching.latencies(
                page, backend.url, training.run, training.layers, training.step, spool, 3 * rounds
            )
        training.step += 3 * rounds
        numbers, charts = zip(*found, strict=True)
        columns[f"{training.layers:,} layers"] = {
            "its number": _seconds(numbers),
            "its point in the chart": _seconds(charts),
            "the slowest": f"{max(charts):.2f} s",
            "goal": "2 s",
        }
    return table("From a measurement in a training to the open page, median [middle half]", columns)


def of_viewers(backend: Backend, training: Training, viewers: Sequence[int]) -> str:
    """The table of what viewers cost."""
    ways: dict[str, list[str]] = {"that listen": [], "that follow the page": paths_of(backend, training)}
    columns = {"nobody": _cost(backend, training, 0, [])}
    for way, paths in ways.items():
        columns |= {f"{number} {way}": _cost(backend, training, number, paths) for number in viewers}
    return table("Viewers of one run while it trains two steps a second; all include storing what it sends", columns)


def _cost(backend: Backend, training: Training, viewers: int, paths: Sequence[str]) -> dict[str, str]:
    spent: list[tuple[int, float]] = []

    def note() -> None:
        spent.append((backend.statements, backend.cpu_seconds))

    with trained(training):
        seen = asyncio.run(watch(backend.url, training.run, viewers, WATCHED, paths, note))
        note()
    (statements, cpu), (statements_after, cpu_after) = spent
    answers = ", ".join(f"{count} x {status}" for status, count in sorted(seen.answers.items())) or "none"
    return {
        "statements a second": f"{(statements_after - statements) / WATCHED:.0f}",
        "of a processor": f"{100 * (cpu_after - cpu) / WATCHED:.0f} %",
        "notices a viewer and second": f"{seen.notices / viewers / WATCHED:.1f}" if viewers else "-",
        "answers": answers,
        "MiB a second": f"{seen.size / WATCHED / 2**20:.1f}",
    }


def paths_of(backend: Backend, training: Training) -> list[str]:
    """What a page of this run fetches after a notice: its fragment, and the charts of the first screen."""
    slugs = ("loss", "gradient-global", "learning-rate", "gradient-norm", "activation-rms", "spectral-norm")
    chosen = "".join(f"&panel={slug}" for slug in slugs)
    paths = [f"/fragments/runs/{training.run}", f"/runs/{training.run}/panels?theme=light&points=500{chosen}"]
    for path in paths:
        backend.http.get(path).raise_for_status()
    return paths


@contextmanager
def trained(training: Training) -> Iterator[None]:
    """While the block runs, the training goes on."""
    done = threading.Event()

    def go_on() -> None:
        while not done.wait(TRAINING_SECONDS):
            training.train(1)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _seconds(values: Sequence[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} s [{low:.2f}-{high:.2f}]"
