"""The agent: claims runs from the backend, trains each in processes of its own, and keeps in touch.

`python -m trainer.worker --server URL --data DIR`; the token is taken from GYROSTAT_TOKEN. It only ever asks, so it
works behind any firewall, and it holds no torch.

Threads talk to the backend (`contact`: claims and heartbeats; `delivery`: what ended trainings left in their spools);
the main thread alone owns the trainings. When the backend is away, trainings go on.
"""

import argparse
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import structlog

import gyrostat
from gyrostat.wire.messages import (
    Assignment,
    CheckpointReference,
    Command,
    Registration,
    RunAttempt,
    RunningReport,
)
from trainer.backend import Backend, Refused
from trainer.contact import Contact, drained
from trainer.errors import DeviceError, NameTaken
from trainer.launch.base import Job, Launcher, Training
from trainer.launch.delivery import Delivery
from trainer.launch.local import LocalLauncher
from trainer.lock import default_name, lock_name

TICK_SECONDS = 0.1
INTERRUPT_SECONDS = 8.0
"""How long trainings may take to write their last checkpoint when the agent is told to go."""
DELIVERY_SECONDS = 3.0
"""How long the agent then tries to deliver what is left; the rest is sent at its next start."""
FIRST_DELIVERY_SECONDS = 10.0
"""How long claiming waits for what an earlier agent left: it may be the end of a run that is queued again."""
NAME_SECONDS = INTERRUPT_SECONDS + DELIVERY_SECONDS + 1.0
"""How long an earlier worker of the same name, which may be leaving, is waited for."""

MAX_PROTECTED = 200
"""How many checkpoints of one training are kept for others; as many steps always fit into one request."""

REFUSED = 2
"""Exit status: the backend will never take this worker, its name is taken, or the device is not there."""

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says."""

    server: str
    data: Path
    name: str
    slots: int
    device: str
    data_root: Path
    token: str


class Agent:
    """One worker; the thread that calls `run` owns its trainings, and must outlive them."""

    def __init__(
        self, options: Options, launcher: Launcher, contact: Contact, delivery: Delivery, leaving: threading.Event
    ) -> None:
        self._options, self._launcher = options, launcher
        self._contact, self._delivery, self._leaving = contact, delivery, leaving
        self._trainings: dict[str, Training] = {}

    def run(self) -> int:
        """Works until it is told to leave, then ends its trainings in order. Answers the exit status."""
        try:
            if not self._contact.begin():
                return 0
        except Refused as error:
            log.error("the backend does not take this worker", error=str(error))
            return REFUSED
        self._delivery.start()
        self._delivery.wait(FIRST_DELIVERY_SECONDS, self._leaving)
        self._contact.start()
        while not self._leaving.wait(TICK_SECONDS):
            self._tick()
        self._leave()
        return 0

    def _tick(self) -> None:
        for assignment in drained(self._contact.claimed):
            if self._leaving.is_set():
                self._give_back(assignment)
            else:
                self._start(assignment)
        for answer in drained(self._contact.answers):
            for command in answer.commands:
                self._pass_on(command)
            for lost in answer.abandon:
                self._abandon(lost)
            self._protect(answer.keep)
        for training in list(self._trainings.values()):
            self._look_after(training)
        self._contact.reports = self._reports()

    def _job(self, assignment: Assignment) -> Job:
        options = self._options
        return Job.of(
            assignment,
            server=options.server,
            data=options.data,
            data_root=options.data_root,
            device=options.device,
            # trainings side by side that each take every core slow one another down several times over
            threads=max(1, (os.cpu_count() or 1) // options.slots),
        )

    def _start(self, assignment: Assignment) -> None:
        job = self._job(assignment)
        if (old := self._trainings.get(job.run)) is not None:
            # its lease ran out while the backend was away, and the run came back to us: the newer attempt counts
            old.kill()
            self._end(old)
        try:
            self._trainings[job.run] = self._launcher.start(job)
        except OSError as error:
            self._contact.free_slot()
            self._delivery.report(job, "failed", 0, {"error": f"no process could be started: {error}"})
            return
        resumed = None if job.resume is None else f"step {job.resume.step} of {job.resume.run}"
        log.info("training", run=job.run, attempt=job.attempt, resumed=resumed)

    def _give_back(self, assignment: Assignment) -> None:
        self._delivery.report(self._job(assignment), "interrupted", 0, {"reason": "its worker was leaving"})

    def _pass_on(self, command: Command) -> None:
        # one for a run that is not here is not ours to call done: the run's end, reported elsewhere, settles it
        if (training := self._training(command.run, command.attempt)) is not None:
            training.ask(command.kind, command=command.id, data=command.data)

    def _abandon(self, lost: RunAttempt) -> None:
        if (training := self._training(lost.run, lost.attempt)) is not None:
            # no warning: most often it has just reported its end by itself, and its process is about to go
            log.info("the backend counts on this training no more: it ended, or is another worker's", run=lost.run)
            training.kill()
            self._end(training)

    def _training(self, run: str, attempt: int) -> Training | None:
        # an answer to an older heartbeat may be about the attempt before the one that was claimed meanwhile
        training = self._trainings.get(run)
        return training if training is not None and training.job.attempt == attempt else None

    def _protect(self, needed: list[CheckpointReference]) -> None:
        for training in self._trainings.values():
            # the whole set each time: a request that a full pipe did not take is made good by the next
            steps = [reference.step for reference in needed if reference.run == training.job.run]
            training.ask("keep", data={"steps": steps[-MAX_PROTECTED:]})

    def _look_after(self, training: Training) -> None:
        ended = training.poll()
        self._contact.carried_out(training.carried_out())
        if ended is None:
            return
        if ended.reported:
            log.info("training ended", run=training.job.run, step=training.step)
        else:
            log.error("training died", run=training.job.run, step=training.step, error=ended.error)
            failure = {"error": ended.error, "traceback": ended.output}
            self._delivery.report(training.job, "failed", training.step, failure)
        self._end(training)

    def _end(self, training: Training) -> None:
        del self._trainings[training.job.run]
        self._contact.free_slot()
        self._delivery.deliver(training.job, training.step)

    def _reports(self) -> list[RunningReport]:
        running = {
            t.job.run: RunningReport(run=t.job.run, attempt=t.job.attempt, step=t.step)
            for t in self._trainings.values()
        }
        # a run whose end is not delivered yet is still ours: else it would be given away, and trained once more
        ended = {report.run: report for report in self._delivery.undelivered()}
        return list((ended | running).values())

    def _leave(self) -> None:
        log.info("leaving: trainings write their checkpoints", trainings=len(self._trainings))
        self._contact.announce_leaving()
        deadline = time.monotonic() + INTERRUPT_SECONDS
        self._tick()
        for training in self._trainings.values():
            training.ask("interrupt")
        while self._trainings and time.monotonic() < deadline:
            time.sleep(TICK_SECONDS)
            self._tick()
        for training in list(self._trainings.values()):
            training.kill()
            reason = f"no checkpoint within {INTERRUPT_SECONDS:g} s of its worker's end; it goes on from the one before"
            self._delivery.report(training.job, "interrupted", training.step, {"reason": reason})
            self._end(training)
        self._delivery.wait(DELIVERY_SECONDS)


def main(argv: list[str] | None = None) -> int:
    """Runs a worker until SIGTERM or Ctrl-C. Answers its exit status."""
    options = _options(argv)
    _log_to_stderr()
    leaving = threading.Event()

    def leave(number: int, _frame: FrameType | None) -> None:
        leaving.set()
        signal.signal(number, signal.SIG_DFL)  # a second one ends everything at once

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    for folder in (options.data, options.data_root):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        name = lock_name(options.data, options.name, wait_seconds=NAME_SECONDS)
    except (NameTaken, OSError) as error:
        log.error("this worker cannot have its name", error=str(error))
        return REFUSED
    with name:
        return _work(options, leaving)


def _work(options: Options, leaving: threading.Event) -> int:
    try:
        registration = _registration(options)
    except DeviceError as error:
        log.error("this machine cannot train as asked", error=str(error))
        return REFUSED
    contact = Contact(Backend(options.server, options.token), registration, leaving)
    delivery = Delivery(options.data / "spool", server=options.server, token=options.token)
    return Agent(options, LocalLauncher(), contact, delivery, leaving).run()


def _options(argv: list[str] | None) -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m trainer.worker", description="Trains the runs that a backend queues."
    )
    parser.add_argument("--server", required=True, help="the backend, such as http://127.0.0.1:8000")
    parser.add_argument("--data", type=Path, required=True, help="folder for checkpoints, spools and logs")
    parser.add_argument(
        "--name", help="stays the same over restarts, and no two have the same (default: host, device and data folder)"
    )
    parser.add_argument("--slots", type=int, default=1, choices=range(1, 257), metavar="N", help="trainings at once")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument(
        "--data-root",
        type=Path,
        default=os.environ.get("GYROSTAT_DATA_ROOT") or None,
        help="folder of your own files, which specs may name (default: GYROSTAT_DATA_ROOT, else DATA/datasets)",
    )
    given = parser.parse_args(argv)
    given.data = given.data.resolve()
    given.data_root = (given.data_root or given.data / "datasets").resolve()
    given.name = given.name or default_name(given.device, given.data)
    return Options(**vars(given), token=os.environ.get("GYROSTAT_TOKEN", ""))


def _registration(options: Options) -> Registration:
    machine = _described_machine(options)
    return Registration(
        name=options.name,
        host=socket.gethostname(),
        pid=os.getpid(),
        device=machine["device"],
        slots=options.slots,
        datasets=machine["datasets"],
        version=gyrostat.__version__,
    )


def _described_machine(options: Options) -> dict[str, Any]:
    """What a process with torch in it finds on this machine.

    Raises:
        DeviceError: the device that was asked for is not there, or torch does not start.
    """
    command = [sys.executable, "-m", "trainer.launch.machine", options.device, str(options.data_root)]
    found = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)  # noqa: S603
    if found.returncode:
        raise DeviceError(f"python cannot load what training needs: {found.stderr[-2000:]}")
    machine: dict[str, Any] = json.loads(found.stdout)
    if "error" in machine:
        raise DeviceError(machine["error"])
    return machine


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))


if __name__ == "__main__":
    sys.exit(main())
