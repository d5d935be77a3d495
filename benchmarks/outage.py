"""What an outage costs: a killed backend's start until its first answer, and the draining of a training's spool.

A training of 100 layers x 10 metrics takes 5 frames a second, 5000 points, and finds no backend for `--minutes`; its
stream makes the messages that it would have made in that time, one for every three frames. Then the backend is back:
the figure is the time from the first message to the last acknowledgement, detectors and durable commits included.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np

from benchmarks.ingest.bodies import WATCHED, batches, layout
from gyrostat.stream.spool import Spool
from gyrostat.stream.stream import Stream, sync
from gyrostat.stream.transport import HttpTransport
from gyrostat.wire.pending import PendingFrame
from tests.end_to_end.service import Service, running

FRAMES_A_SECOND, FRAMES_A_MESSAGE = 5, 3
DRAIN_SECONDS = 600


def spool_of_outage(folder: Path, seconds: float) -> tuple[int, int]:
    """A spool as the outage leaves it; frames and points in it."""
    stream = Stream(spool=Spool(folder), transport=None, run="outage", attempt=1, flush_seconds=3600)
    stream.layout(layout(WATCHED))
    steps = round(seconds * FRAMES_A_SECOND)
    for batch in batches(steps, 30, WATCHED):
        metrics = [column.metric for column in batch.columns]
        width = batch.columns[0].values.shape[1]
        slices = {metric: (i * width, (i + 1) * width) for i, metric in enumerate(metrics)}
        for place, step in enumerate(batch.steps.tolist()):
            vector = np.concatenate([column.values[place] for column in batch.columns])
            stream.emit(
                PendingFrame(
                    step=step, time=time.time(), epoch=0.0, layout=1, slices=slices, fetch=lambda vector=vector: vector
                )
            )
            if not step % FRAMES_A_MESSAGE:
                stream.flush(60)  # puts what there is onto the disk, as time would
    ledger = stream.close(60)
    assert ledger.spooled == ledger.produced, ledger
    return ledger.spooled.frames, ledger.spooled.points


def drain(service: Service, folder: Path) -> float:
    """Seconds until the backend has acknowledged all of it."""
    run = service.http.post("/v1/runs", json={"attached": True}).raise_for_status().json()["id"]
    began = time.perf_counter()
    ledger = sync(folder, HttpTransport(service.url), run, 1, timeout=DRAIN_SECONDS)
    took = time.perf_counter() - began
    assert ledger.acknowledged == ledger.inherited, ledger
    return took


def restart(service: Service) -> float:
    """Seconds from the start of a backend that was killed until it answers a request that reads the database."""
    service.kill_backend()
    began = time.perf_counter()
    service.launch_backend()
    while True:
        try:
            service.http.get("/v1/runs").raise_for_status()
            return time.perf_counter() - began
        except httpx.TransportError:
            time.sleep(0.01)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--restarts", type=int, default=5)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        frames, points = spool_of_outage(root / "spool", 60 * options.minutes)
        with running(root / "data") as service:
            took = drain(service, root / "spool")
            seconds = [restart(service) for _ in range(options.restarts)]
    print(f"{options.minutes:g} minutes without a backend, {frames} frames of {points} points: drained in {took:.1f} s")
    print(f"from the start of a killed backend to its first answer: {statistics.median(seconds):.2f} s, "
          f"at most {max(seconds):.2f} s of {len(seconds)}")  # fmt: skip


if __name__ == "__main__":
    main()
