"""Keeping in touch with the backend: registration, heartbeats and claims, each at its own pace."""

import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

import structlog

from gyrostat.wire.messages import Assignment, Heartbeat, HeartbeatAnswer, Registered, Registration, RunningReport
from trainer.backend import Backend, BackendError, Forgotten, Refused

CLAIM_SECONDS = 20.0
"""How long one claim waits for a run to be queued."""
RETRY_SECONDS = (0.5, 10.0)
"""First and longest pause before the backend is asked again after a failure."""
GOODBYE_SECONDS = 2.0
"""How long a leaving worker waits for the backend to hear of it."""
MAX_REPORTS, MAX_DONE = 256, 1000

log = structlog.get_logger()


class Contact:
    """The threads that talk to the backend, and what passes between them and the thread that owns the trainings.

    Attributes:
        claimed: runs that were given to this worker; each has taken a slot, until `free_slot`.
        answers: what heartbeats brought back.
        reports: what heartbeats tell; replaced whole by the owner of the trainings.
    """

    def __init__(self, backend: Backend, registration: Registration, leaving: threading.Event) -> None:
        self.claimed: queue.SimpleQueue[Assignment] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[HeartbeatAnswer] = queue.SimpleQueue()
        self.reports: list[RunningReport] = []
        self._backend, self._registration, self._leaving = backend, registration, leaving
        self._slots = threading.Semaphore(registration.slots)
        self._registered: Registered | None = None
        self._registering = threading.Lock()
        self._done: set[int] = set()
        self._done_lock = threading.Lock()
        self._failing: str | None = None
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []

    def begin(self) -> bool:
        """Registers, trying until it works; False where the worker is told to leave before.

        Raises:
            Refused: the backend will never take this worker as it is.
        """
        self._register(None)
        return self._registered is not None

    def start(self) -> None:
        """Starts heartbeats, which go on until `end`, and claims, which go on until the worker is to leave."""
        for loop in (self._send_heartbeats, self._claim_runs):
            thread = threading.Thread(target=loop, name=loop.__name__.strip("_"), daemon=True)
            thread.start()
            self._threads.append(thread)

    def announce_leaving(self) -> None:
        """Says at once that no more runs are wanted, so that a waiting claim does not take back what is given up."""
        if self._registered is not None:
            goodbye = Heartbeat(running=self.reports[:MAX_REPORTS], leaving=True)
            try:
                self.answers.put(self._backend.heartbeat(self._registered.id, goodbye, timeout=GOODBYE_SECONDS))
            except BackendError as error:
                self._failed(error)

    def end(self, timeout: float = 0.0) -> None:
        """Ends heartbeats; waits up to `timeout` seconds for a claim under way, then leaves it to the process's end."""
        self._ended.set()
        self._slots.release()  # a claim that waits for a slot sees that it is over
        for thread in self._threads:
            thread.join(timeout)
        if not any(thread.is_alive() for thread in self._threads):
            self._backend.close()

    def free_slot(self) -> None:
        """A training has ended; another may be claimed."""
        self._slots.release()

    def carried_out(self, commands: list[int]) -> None:
        """Commands to report as done, until a heartbeat has."""
        with self._done_lock:
            self._done.update(commands)

    def _register(self, before: Registered | None) -> None:
        with self._registering:
            if self._registered is not before:
                return  # another thread was faster
            for pause in _pauses():
                if self._leaving.is_set():
                    return
                try:
                    self._registered = self._backend.register(self._registration)
                except Refused:
                    raise
                except BackendError as error:
                    self._failed(error)
                    self._leaving.wait(pause)
                else:
                    self._worked()
                    log.info("registered", worker=self._registered.id, name=self._registration.name)
                    return

    def _send_heartbeats(self) -> None:
        while not self._ended.is_set():  # while the worker leaves, too: its trainings still write their checkpoints
            registered = self._registered
            assert registered is not None
            try:
                self._send_heartbeat(registered)
            except Forgotten:
                self._register_again(registered)
                if self._registered is not registered:
                    continue
            except BackendError as error:
                self._failed(error)
            self._ended.wait(registered.heartbeat_seconds)

    def _send_heartbeat(self, registered: Registered) -> None:
        with self._done_lock:
            done = sorted(self._done)[:MAX_DONE]
        report = Heartbeat(running=self.reports[:MAX_REPORTS], done=done, leaving=self._leaving.is_set())
        answer = self._backend.heartbeat(registered.id, report)
        with self._done_lock:
            self._done.difference_update(done)
        self._worked()
        self.answers.put(answer)

    def _claim_runs(self) -> None:
        pauses = _pauses()
        while not self._leaving.is_set():
            self._slots.acquire()
            if self._leaving.is_set():
                return
            registered = self._registered
            assert registered is not None
            assignment: Assignment | None = None
            try:
                assignment = self._backend.claim(registered.id, wait_seconds=CLAIM_SECONDS)
                pauses = _pauses()
            except Forgotten:
                self._register_again(registered)
            except BackendError as error:
                self._failed(error)
                self._leaving.wait(next(pauses))
            if assignment is None:
                self._slots.release()
            else:
                self.claimed.put(assignment)

    def _register_again(self, before: Registered) -> None:
        try:
            self._register(before)
        except Refused as error:
            # it took us once: the token may be mended while trainings go on
            self._failed(error)
            self._leaving.wait(RETRY_SECONDS[1])

    def _failed(self, error: BackendError) -> None:
        # a line for each cause, not for each try
        if self._failing != type(error).__name__:
            log.warning("the backend cannot be reached; trainings go on", error=str(error))
        self._failing = type(error).__name__

    def _worked(self) -> None:
        if self._failing is not None:
            log.info("the backend is back")
        self._failing = None


def _pauses() -> Iterator[float]:
    """Seconds to wait before each further try, doubling up to a limit."""
    pause, longest = RETRY_SECONDS
    while True:
        yield pause
        pause = min(longest, 2 * pause)


T = TypeVar("T")


def drained(items: "queue.SimpleQueue[T]") -> Iterator[T]:
    """What is in the queue now. For the one thread that takes from it."""
    while not items.empty():
        yield items.get()
