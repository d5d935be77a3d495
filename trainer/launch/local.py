"""One training in one child process on this machine.

The job and the requests go down the child's stdin as lines of JSON; steps, commands taken and the word that the end was
reported come up a pipe of their own, since stdout belongs to whatever prints. The child leads a session of its own, so
Ctrl-C in a terminal reaches the agent alone, which then ends its children in order.
"""

import json
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Any

from trainer.launch.base import Ask, Ended, Job
from trainer.launch.death import cause_of_death, last_of


class LocalTraining:
    """A child process and the two pipes to it."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.step = 0
        self._reported = False
        self._taken: list[int] = []
        self._rest = b""
        job.log.parent.mkdir(parents=True, exist_ok=True)
        self._reports, child_end = os.pipe()
        try:
            with job.log.open("ab") as log:
                self._process = subprocess.Popen(  # noqa: S603 - our own module
                    [sys.executable, "-m", "trainer.launch.child", str(child_end), job.run, str(job.attempt)],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    pass_fds=(child_end,),
                    start_new_session=True,
                )
        except BaseException:
            os.close(self._reports)
            raise
        finally:
            os.close(child_end)
        assert self._process.stdin is not None
        self._requests = self._process.stdin.fileno()
        os.set_blocking(self._reports, False)
        with suppress(BrokenPipeError):  # it is dead already: poll() tells
            self._process.stdin.write(job.model_dump_json().encode() + b"\n")
            self._process.stdin.flush()
        os.set_blocking(self._requests, False)

    @property
    def pid(self) -> int:
        """Of the child."""
        return self._process.pid

    def ask(self, kind: Ask, *, command: int | None = None, data: dict[str, Any] | None = None) -> None:
        """Passes a request on; nothing happens where the training has ended."""
        if self._reports < 0:
            return
        line = _request(kind, command, data or {})
        if len(line) > select.PIPE_BUF:
            line = _request(kind, command, {"too_long": len(line)})  # the child refuses it, and says so on the run
        # a pipe takes up to PIPE_BUF bytes whole or not at all; one that is full is asked again by whoever waits
        with suppress(BrokenPipeError, BlockingIOError):
            os.write(self._requests, line)

    def carried_out(self) -> list[int]:
        """Ids of the commands that the training has taken since the last call."""
        taken, self._taken = self._taken, []
        return taken

    def poll(self) -> Ended | None:
        """How it ended; None while it runs."""
        code = self._process.poll()
        self._read_reports()
        if code is None:
            return None
        self._close()
        if self._reported:
            return Ended(reported=True)
        return Ended(reported=False, error=cause_of_death(code), output=last_of(self.job.log))

    def kill(self) -> None:
        """Ends the child and all that it started, at once."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._close()

    def _read_reports(self) -> None:
        while self._reports >= 0:
            try:
                read = os.read(self._reports, 65_536)
            except BlockingIOError:
                return
            if not read:
                return
            *lines, self._rest = (self._rest + read).split(b"\n")
            for line in lines:
                self._take(json.loads(line))

    def _take(self, report: dict[str, Any]) -> None:
        self.step = report.get("step", self.step)
        self._reported = self._reported or "ended" in report
        if "taken" in report:
            self._taken.append(report["taken"])

    def _close(self) -> None:
        if self._reports >= 0:
            os.close(self._reports)
            self._reports = -1
            assert self._process.stdin is not None
            with suppress(BrokenPipeError):
                self._process.stdin.close()


class LocalLauncher:
    """Starts each training as one child process."""

    def start(self, job: Job) -> LocalTraining:
        """Starts a training.

        Raises:
            OSError: no process could be started.
        """
        return LocalTraining(job)


def _request(kind: Ask, command: int | None, data: dict[str, Any]) -> bytes:
    return json.dumps({"kind": kind, "command": command, "data": data}).encode() + b"\n"
