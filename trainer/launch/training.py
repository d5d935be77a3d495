"""One training in this process: its stream, its requests, its checkpoint to go on from, and how its end is told.

The process may be the only one of its run or one of several ranks; only rank 0 has a stream and is asked anything.
"""

import json
import os
import signal
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

import torch
from pydantic import ValidationError

from gyrostat.spec.parse import parse
from gyrostat.stream.stream import Stream
from gyrostat.wire.layout import Layout
from gyrostat.wire.measurements import Order
from gyrostat.wire.messages import Acknowledgement, EventKind
from gyrostat.wire.pending import PendingFrame
from trainer import loop, tasks
from trainer.checkpoints import Checkpoint, CheckpointStore
from trainer.control import Adjustment, Control, Ending
from trainer.device import choose, of_rank
from trainer.errors import CheckpointMissing
from trainer.launch.base import Job
from trainer.launch.delivery import open_stream
from trainer.launch.process import orphaned
from trainer.ranks import ALONE, Ranks, joined

REPORT_SECONDS = 0.25
DELIVERY_SECONDS = 3.0
"""How long an ended training waits for the backend to take its last frames; the agent sends what is left."""

TRACEBACK_CHARACTERS = 65_536

_ENDINGS: dict[str, Ending] = {"stop": "stopped", "pause": "paused", "interrupt": "interrupted"}


class Reports:
    """Tells the agent the step a few times a second, and what it needs to know at once, as lines of JSON."""

    def __init__(self, descriptor: int) -> None:
        self.step = 0
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def at(self, step: int) -> None:
        """The training is at `step`; costs the loop an assignment."""
        self.step = step

    def start(self) -> None:
        """Starts the thread that sends steps, so that no full pipe ever holds the loop up."""
        threading.Thread(target=self._send_steps, daemon=True).start()

    def taken(self, command: int) -> None:
        """The command was carried out, or refused for good."""
        self.send({"taken": command})

    def end(self) -> None:
        """The stream holds the training's end."""
        self._ended.set()
        self.send({"step": self.step, "ended": True})

    def send(self, report: dict[str, Any]) -> None:
        """Any report, from any thread."""
        with self._lock:
            os.write(self._descriptor, json.dumps(report).encode() + b"\n")

    def _send_steps(self) -> None:
        sent = -1
        while not self._ended.wait(REPORT_SECONDS):
            if self.step != sent:
                sent = self.step
                self.send({"step": sent})


class Desk:
    """What rank 0 has besides a training: its stream, its checkpoints, its requests and its reports."""

    def __init__(self, job: Job, requests: BinaryIO, reports: Reports) -> None:
        """Opens the stream and begins to listen.

        Raises:
            SpoolInUse: the attempt is being trained by another process.
            OSError: the disk cannot be written.
        """
        self.job, self.reports = job, reports
        self.control = Control()
        self.store = CheckpointStore(job.checkpoints)
        self.stream = open_stream(job, token=os.environ.get("GYROSTAT_TOKEN", ""), on_acknowledged=self._heed)
        threading.Thread(target=self._listen, args=(requests,), daemon=True).start()
        reports.start()

    def train(self, device: torch.device, ranks: Ranks = ALONE) -> None:
        """Trains the job to its end, which the stream then knows."""
        loop_of(self.job, self.store, self.stream, self.control, device=device, ranks=ranks, progress=self.reports.at)

    def end_on_signals(self) -> None:
        """Lets SIGTERM and Ctrl-C end the training in order, with a checkpoint."""

        def interrupt(_number: int, _frame: FrameType | None) -> None:
            self.control.end("interrupted")

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, interrupt)

    def close(self) -> None:
        """Lets the stream deliver what it holds, for a while."""
        self.stream.close(timeout=DELIVERY_SECONDS)

    def _heed(self, answer: Acknowledgement) -> None:
        if answer.tighten:
            self.control.tighten()

    def _listen(self, requests: BinaryIO) -> None:
        for line in requests:
            request = json.loads(line)
            self._take(request["kind"], request["data"])
            if request["command"] is not None:
                self.reports.taken(request["command"])
        orphaned()

    def _take(self, kind: str, data: dict[str, Any]) -> None:
        if kind == "keep":
            self.store.protect(self.job.run, data["steps"])
        elif kind in _ENDINGS:
            self.control.end(_ENDINGS[kind])
        elif kind == "control":
            try:
                self.control.adjust(Adjustment.model_validate(data))
            except ValidationError as error:
                self._complain(f"live change refused: {error}")
        elif kind == "measure":
            try:
                self.control.measure(Order.model_validate(data))
            except ValidationError as error:
                self._complain(f"measurement refused: {error}")
        else:
            self._complain(f"this worker cannot carry out {kind!r}")

    def _complain(self, message: str) -> None:
        self.stream.event("log", self.reports.step, {"level": "error", "message": message})


class Unheard:
    """The sink of the ranks that do not lead: what they would tell, rank 0 tells."""

    def layout(self, layout: Layout) -> None:
        """Nothing."""

    def emit(self, frame: PendingFrame) -> None:
        """Nothing."""

    def event(self, kind: EventKind, step: int, data: dict[str, Any]) -> None:
        """Nothing."""


def loop_of(
    job: Job,
    store: CheckpointStore,
    stream: Stream | Unheard,
    control: Control,
    *,
    device: torch.device,
    ranks: Ranks = ALONE,
    progress: Callable[[int], None] = lambda step: None,
) -> None:
    """Trains the job's spec from the checkpoint that it goes on from; every rank calls it."""
    spec = parse(job.spec).spec
    start = _agreed_start(job, store, stream, ranks)
    # sums in another number of threads differ in their last bits, so a run keeps the number that it began with
    began_with = start.state["threads"] if start is not None and start.run == job.run else job.threads
    loop.prepare(spec, device, threads=began_with, ranks=ranks)
    task = tasks.build(spec, data_root=job.data_root, device=device)
    loop.train(
        spec,
        run=job.run,
        task=task,
        stream=stream,
        checkpoints=store,
        control=control,
        start=start,
        progress=progress,
        ranks=ranks,
    )


def take_part(rank: int, size: int, requests: BinaryIO, reports_to: int, *, store: Path) -> bool:
    """Trains the job that comes first on `requests` as one of several ranks, which meet in the file `store`.

    Answers whether it went well. What went wrong is a report, sent before the others notice that this rank is gone.
    """
    reports, desk = Reports(reports_to), None
    try:
        job = Job.model_validate_json(requests.readline() or orphaned())
        if rank:
            threading.Thread(target=_wait_for_end, args=(requests,), daemon=True).start()
        else:
            desk = Desk(job, requests, reports)
            desk.end_on_signals()
        device = of_rank(choose(job.device), rank)
        with joined(rank, size, device=device, store=store) as ranks:
            if desk is not None:
                desk.train(device, ranks)
            else:
                loop_of(job, CheckpointStore(job.checkpoints), Unheard(), Control(), device=device, ranks=ranks)
    except Exception as error:
        traceback.print_exc()
        reports.send({"failed": failure(error), "step": reports.step})
        if desk is not None:
            desk.close()
        return False
    if desk is not None:
        desk.close()
        reports.end()
    return True


def _wait_for_end(requests: BinaryIO) -> None:
    requests.read()
    orphaned()


def failure(error: Exception) -> dict[str, Any]:
    """What the event of a failed run tells of an exception."""
    text = "".join(traceback.format_exception(error))
    return {"error": f"{type(error).__name__}: {error}", "traceback": text[-TRACEBACK_CHARACTERS:]}


def _agreed_start(job: Job, store: CheckpointStore, stream: Stream | Unheard, ranks: Ranks) -> Checkpoint | None:
    """The checkpoint that rank 0 finds; the other ranks read the same."""
    start = _start(job, store, stream) if ranks.leading else None
    (step,) = ranks.led([-1 if start is None else start.step])
    if ranks.leading or step < 0 or job.resume is None:
        return start
    return store.load(job.resume.run, int(step))


def _start(job: Job, store: CheckpointStore, stream: Stream | Unheard) -> Checkpoint | None:
    """The checkpoint that the assignment names, or the newest sound one before it; what was passed over is told.

    Raises:
        CheckpointMissing: a fork has nothing to start from. A run of its own then starts anew, which is told as well.
    """
    if job.resume is None:
        store.take_over(job.run, 0)
        return None
    found, complaints = store.load_newest(job.resume.run, at_most=job.resume.step)
    if found is None and not complaints:
        complaints = [f"run {job.resume.run} has no checkpoint up to step {job.resume.step} in this worker's folder"]
    elif found is not None and found.step != job.resume.step and not complaints:
        complaints = [f"the checkpoint of step {job.resume.step} is not in this worker's folder"]
    if found is None and job.resume.run != job.run:
        raise CheckpointMissing(f"the fork cannot start: {'; '.join(complaints)}; start it on a worker that has it")
    if complaints:
        instead = "from the beginning" if found is None else f"from step {found.step}"
        stream.event("log", 0 if found is None else found.step, {
            "level": "warning", "message": f"the training starts {instead}: {'; '.join(complaints)}",
        })  # fmt: skip
    store.take_over(job.run, found.step if found is not None and found.run == job.run else 0)
    return found
