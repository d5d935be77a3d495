"""A run's page in a real Chromium: when it can be used, and how soon it shows what was measured."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Page

from app.dashboard import formats
from benchmarks.dashboard.training import layout_of
from gyrostat.stream.spool import Spool
from gyrostat.stream.stream import Stream
from gyrostat.stream.transport import HttpTransport
from gyrostat.wire.pending import PendingFrame

VIEWPORT = {"width": 1400, "height": 1000}
QUIET = 0.3
"""Seconds without a long task after which a page counts as at rest."""
WATCHING = """(() => {
  const seen = window.bench = { tasks: [], drawn: null };
  new PerformanceObserver((list) => {
    for (const task of list.getEntries()) seen.tasks.push([task.startTime, task.startTime + task.duration]);
  }).observe({ type: "longtask", buffered: true });
  const onScreen = (panel) => {
    const place = panel.getBoundingClientRect();
    return panel.checkVisibility() && place.top < innerHeight && place.bottom > 0;
  };
  const look = (painted) => {
    const first = [...document.querySelectorAll(".panels > .panel")].filter(onScreen);
    const drawn = (panel) => panel.querySelector(".plot .main-svg") && panel.dataset.drawn !== undefined;
    if (document.readyState === "loading" || !first.length || !first.every(drawn)) {
      return requestAnimationFrame(() => look(painted));
    }
    seen.panels = first.length;
    requestAnimationFrame(() => setTimeout(() => painted(seen.drawn = performance.now())));
  };
  seen.painted = new Promise(look);
})()"""
FETCHED = """(() => {
  const all = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
  const before = all.filter((each) => each.responseEnd && each.responseEnd <= bench.drawn);
  return [before.length, before.reduce((sum, each) => sum + each.transferSize, 0)];
})()"""
SHOWN = """([vital, step]) => {
  const curve = () => document.querySelector("#panel-loss .plot")._fullData.find((trace) => trace.name === "train");
  const loss = () => document.querySelector("#vital-loss-train [data-value]").textContent;
  const now = () => performance.timeOrigin + performance.now();
  const seen = {};
  return new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`not shown: ${JSON.stringify(seen)}, ${loss()}, ${curve().x.at(-1)}`)), 30000);
    const look = () => {
      if (!seen.number && loss() === vital) seen.number = now();
      if (!seen.chart && curve().x.at(-1) >= step) seen.chart = now();
      if (seen.number && seen.chart) resolve([seen.number, seen.chart]);
      else requestAnimationFrame(look);
    };
    look();
  });
}"""


@dataclass(frozen=True)
class Visit:
    """One opening of a page. Seconds from the start of the navigation.

    Attributes:
        drawn: every chart of the first screen is painted. usable: and no long task (50 ms) follows within QUIET.
        panels: on the first screen. requests, kib: until then, page and scripts included.
    """

    drawn: float
    usable: float
    panels: int
    requests: int
    kib: float


def visit(page: Page, address: str) -> Visit:
    """Opens the page, which must have been made by `fresh`."""
    page.goto(address, wait_until="commit")
    page.evaluate("bench.painted")
    page.wait_for_timeout(1000 * (QUIET + 1))
    drawn, panels, tasks = page.evaluate("[bench.drawn, bench.panels, bench.tasks]")
    end = drawn
    for start, stop in sorted(tasks):
        if start - end < 1000 * QUIET:
            end = max(end, stop)
    requests, size = page.evaluate(FETCHED)
    return Visit(drawn / 1000, end / 1000, panels, requests, size / 1024)


@contextmanager
def fresh(browser: Browser) -> Iterator[Page]:
    """A page with nothing in its caches."""
    context = browser.new_context(viewport=VIEWPORT)
    context.add_init_script(WATCHING)
    yield context.new_page()
    context.close()


def latencies(
    page: Page, url: str, run: str, layers: int, step: int, folder: Path, rounds: int
) -> list[tuple[float, float]]:
    """Seconds from a measurement in a training to its number, and to its point in the chart, on the open page.

    The frames pass through the stream of every training: grouped, spooled, posted, stored, told.
    """
    stream = Stream(spool=Spool(folder), transport=HttpTransport(url), run=run, attempt=1, producer="live")
    stream.layout(layout_of(layers))
    random, found = np.random.default_rng(1), []
    for number in range(1, rounds + 1):
        loss = np.float32(1 + number / 1000)
        vector = np.concatenate([[loss], random.uniform(0.001, 0.002, layers)]).astype(np.float32)
        at = time.time()
        stream.emit(
            PendingFrame(
                step=step + number,
                time=at,
                epoch=0.0,
                layout=1,
                slices={"loss.train": (0, 1), "gradient.norm": (1, layers + 1)},
                fetch=lambda vector=vector: vector,
            )
        )
        number_shown, chart_shown = page.evaluate(SHOWN, [formats.number(float(loss)), step + number])
        found.append((number_shown / 1000 - at, chart_shown / 1000 - at))
        time.sleep(random.uniform(0.5, 2.0))  # not in step with the page's own pauses
    stream.close()
    return found
