"""The process that one training runs in: `python -m trainer.launch.child FD RUN ATTEMPT`.

RUN and ATTEMPT are there for `ps`. Stdin brings the job and then requests, one JSON object a line; FD takes reports the
same way. The process never outlives its agent: another one may be given the run as soon as the agent is gone.
"""

import ctypes
import faulthandler
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any, BinaryIO

from pydantic import ValidationError

from gyrostat.spec.parse import parse
from gyrostat.stream.stream import Stream
from gyrostat.wire.messages import Acknowledgement
from trainer import loop, tasks
from trainer.checkpoints import Checkpoint, CheckpointStore
from trainer.control import Adjustment, Control, Ending
from trainer.device import choose
from trainer.errors import CheckpointMissing
from trainer.launch.base import Job
from trainer.launch.delivery import open_stream

REPORT_SECONDS = 0.25
DELIVERY_SECONDS = 3.0
"""How long an ended training waits for the backend to take its last frames; the agent sends what is left."""

ORPHANED = 3
TRACEBACK_CHARACTERS = 65_536

_ENDINGS: dict[str, Ending] = {"stop": "stopped", "pause": "paused", "interrupt": "interrupted"}


def main() -> None:
    """Trains the job on stdin, tells its stream how that ended, and leaves."""
    faulthandler.enable()
    _die_with_parent()
    reports = Reports(int(sys.argv[1]))
    requests = sys.stdin.buffer
    job = Job.model_validate_json(requests.readline() or _orphaned())
    control = Control()

    def heed(answer: Acknowledgement) -> None:
        if answer.tighten:
            control.tighten()

    stream = open_stream(job, token=os.environ.get("GYROSTAT_TOKEN", ""), on_acknowledged=heed)
    _end_on_signals(control)
    store = CheckpointStore(job.checkpoints)

    def take(kind: str, data: dict[str, Any]) -> None:
        if kind == "keep":
            store.protect(job.run, data["steps"])
        else:
            _take(kind, data, control, stream, reports.step)

    threading.Thread(target=_listen, args=(requests, take, reports), daemon=True).start()
    reports.start()
    try:
        _train(job, store, stream=stream, control=control, reports=reports)
    except Exception as error:
        traceback.print_exc()
        stream.event("failed", reports.step, _failure(error))
    stream.close(timeout=DELIVERY_SECONDS)
    reports.end()
    # not `return`: threads of native libraries may hang an orderly exit, and nothing is left to be done
    os._exit(0)


def _train(job: Job, store: CheckpointStore, *, stream: Stream, control: Control, reports: "Reports") -> None:
    spec = parse(job.spec).spec
    device = choose(job.device)
    start = _start(job, store, stream)
    # sums in another number of threads differ in their last bits, so a run keeps the number that it began with
    began_with = start.state["threads"] if start is not None and start.run == job.run else job.threads
    loop.prepare(spec, device, threads=began_with)
    task = tasks.build(spec, data_root=job.data_root, device=device)
    loop.train(
        spec,
        run=job.run,
        task=task,
        stream=stream,
        checkpoints=store,
        control=control,
        start=start,
        progress=reports.at,
    )


def _start(job: Job, store: CheckpointStore, stream: Stream) -> Checkpoint | None:
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


def _failure(error: Exception) -> dict[str, Any]:
    text = "".join(traceback.format_exception(error))
    return {"error": f"{type(error).__name__}: {error}", "traceback": text[-TRACEBACK_CHARACTERS:]}


class Reports:
    """Tells the agent the step a few times a second, and what it needs to know at once."""

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
        self._send({"taken": command})

    def end(self) -> None:
        """The stream holds the training's end."""
        self._ended.set()
        self._send({"step": self.step, "ended": True})

    def _send_steps(self) -> None:
        sent = -1
        while not self._ended.wait(REPORT_SECONDS):
            if self.step != sent:
                sent = self.step
                self._send({"step": sent})

    def _send(self, report: dict[str, Any]) -> None:
        with self._lock:
            os.write(self._descriptor, json.dumps(report).encode() + b"\n")


def _listen(requests: BinaryIO, take: Callable[[str, dict[str, Any]], None], reports: Reports) -> None:
    for line in requests:
        request = json.loads(line)
        take(request["kind"], request["data"])
        if request["command"] is not None:
            reports.taken(request["command"])
    _orphaned()


def _take(kind: str, data: dict[str, Any], control: Control, stream: Stream, step: int) -> None:
    if kind in _ENDINGS:
        control.end(_ENDINGS[kind])
    elif kind == "control":
        try:
            control.adjust(Adjustment.model_validate(data))
        except ValidationError as error:
            stream.event("log", step, {"level": "error", "message": f"live change refused: {error}"})
    else:
        stream.event("log", step, {"level": "error", "message": f"this worker cannot carry out {kind!r}"})


def _end_on_signals(control: Control) -> None:
    def interrupt(_number: int, _frame: FrameType | None) -> None:
        control.end("interrupted")

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, interrupt)


def _die_with_parent() -> None:
    """Linux kills this process with its parent, whatever it is busy with; elsewhere the end of stdin tells."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _orphaned() -> bytes:
    # what is on disk is sent by the next agent; an orderly end would write into a run that may be another's by now
    os._exit(ORPHANED)


if __name__ == "__main__":
    main()
