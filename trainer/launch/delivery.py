"""What trainings leave in their spools: opened for a training, reported into after its death, sent after its end."""

import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gyrostat.stream.spool import Spool, SpoolInUse
from gyrostat.stream.stream import Stream
from gyrostat.stream.transport import HttpTransport
from gyrostat.wire.messages import Acknowledgement, EventKind, RunningReport
from trainer.launch.base import Job

SEND_SECONDS = 10.0
"""How long one spool is sent from before the next one has its turn."""
RETRY_SECONDS = 5.0
DYING_SECONDS = 2.0
"""How long the ranks of a training may take to die with the process that started them."""
REJECTED = ".rejected"
"""Folder, among the spools, of those whose run the backend does not know."""

log = logging.getLogger(__name__)


def open_stream(job: Job, *, token: str, on_acknowledged: Callable[[Acknowledgement], None] | None = None) -> Stream:
    """The stream of a training that begins.

    Raises:
        SpoolInUse: the attempt is being trained by another process.
        OSError: the disk cannot be written.
    """
    return Stream(
        spool=Spool(job.spool),
        transport=HttpTransport(job.server, token=token or None),
        run=job.run,
        attempt=job.attempt,
        on_acknowledged=on_acknowledged,
    )


@dataclass(frozen=True, kw_only=True)
class _Left:
    """A spool that nobody writes any more. `step`: its training's last, where this agent saw it end."""

    folder: Path
    run: str
    attempt: int
    step: int | None


class Delivery:
    """Sends, in a thread of its own, what is in the spools of ended trainings; an empty one is removed.

    Args:
        root: the folder of all spools, `<root>/<run>/<attempt>/`. What earlier agents left there is sent as well,
            except where a live process still writes.
    """

    def __init__(self, root: Path, *, server: str, token: str) -> None:
        self._root, self._server, self._token = root, server, token
        self._changed = threading.Condition()
        self._left: dict[Path, _Left] = {}
        self._tried: set[Path] = set()

    def start(self) -> None:
        """Begins with what earlier agents left."""
        for folder in sorted(self._root.glob("*/*")):
            if folder.is_dir() and folder.name.isdecimal():
                self._left[folder] = _Left(folder=folder, run=folder.parent.name, attempt=int(folder.name), step=None)
        threading.Thread(target=self._send_all, name="delivery", daemon=True).start()

    def report(self, job: Job, kind: EventKind, step: int, data: dict[str, Any]) -> None:
        """Puts into the spool of a dead training what it could not tell itself; on disk when this returns."""
        try:
            stream = Stream(spool=_let_go_of(job.spool), transport=None, run=job.run, attempt=job.attempt)
        except (OSError, SpoolInUse) as error:
            # the backend notices by the lease; what cannot be written down cannot be promised
            log.error("run %s: %s at step %d is not on record: %s", job.run, kind, step, error)
            return
        stream.event(kind, step, data)
        stream.close()
        self.deliver(job, step)

    def deliver(self, job: Job, step: int) -> None:
        """The training is over; what is in its spool is sent."""
        with self._changed:
            self._left[job.spool] = _Left(folder=job.spool, run=job.run, attempt=job.attempt, step=step)
            self._tried.discard(job.spool)
            self._changed.notify_all()

    def undelivered(self) -> list[RunningReport]:
        """Runs that ended here, whose end the backend does not know yet."""
        with self._changed:
            ours = [left for left in self._left.values() if left.step is not None]
            return [RunningReport(run=left.run, attempt=left.attempt, step=left.step or 0) for left in ours]

    def wait(self, timeout: float, unless: threading.Event | None = None) -> None:
        """Returns when everything known of was tried once, after `timeout` seconds, or soon after `unless` is set."""
        waited = 0.0
        with self._changed:
            while set(self._left) - self._tried and waited < timeout and not (unless and unless.is_set()):
                self._changed.wait(0.1)
                waited += 0.1

    def _send_all(self) -> None:
        while True:
            with self._changed:
                # those that ended last, first: somebody may be waiting for their end to show
                for left in reversed(self._left.values()):
                    if left.folder not in self._tried:
                        break
                else:
                    self._tried.clear()
                    self._changed.wait(RETRY_SECONDS if self._left else None)
                    continue
            over = self._send(left)
            with self._changed:
                self._tried.add(left.folder)
                if over and self._left.get(left.folder) == left:
                    del self._left[left.folder]
                self._changed.notify_all()

    def _send(self, left: _Left) -> bool:
        """Whether nothing is left to be done about this spool."""
        try:
            spool = Spool(left.folder)
        except SpoolInUse:
            return left.step is None  # an earlier agent's training that lives is another agent's
        except OSError as error:
            log.warning("%s cannot be read, and will be tried again: %s", left.folder, error)
            return False
        transport = HttpTransport(self._server, token=self._token or None)
        stream = Stream(spool=spool, transport=transport, run=left.run, attempt=left.attempt)
        stream.close(SEND_SECONDS)
        if stream.run_unknown:
            return self._set_aside(left, stream.superseded or "")
        if stream.superseded is not None:
            log.warning("what run %s left of attempt %d is given up: %s", left.run, left.attempt, stream.superseded)
        elif spool.settled < spool.last_sequence:
            return False
        shutil.rmtree(left.folder, ignore_errors=True)
        _remove_if_empty(left.folder.parent)
        return True

    def _set_aside(self, left: _Left, reason: str) -> bool:
        # the run may have been deleted, but a worker that asks the wrong backend hears the same
        rejected = self._root / REJECTED
        name = f"{left.run}-{left.attempt}"
        try:
            rejected.mkdir(exist_ok=True)
            place = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=rejected)) if (rejected / name).exists() else None
            place = left.folder.rename(place or rejected / name)
        except OSError as error:
            log.warning("%s cannot be set aside, and will be tried again: %s", left.folder, error)
            return False
        _remove_if_empty(left.folder.parent)
        log.warning(
            "what run %s left of attempt %d is not taken, and kept in %s: %s", left.run, left.attempt, place, reason
        )
        return True


def _let_go_of(folder: Path) -> Spool:
    """The spool of a training whose processes are being killed, once they are dead.

    Raises:
        SpoolInUse: another process trains the attempt.
    """
    deadline = time.monotonic() + DYING_SECONDS
    while True:
        try:
            return Spool(folder)
        except SpoolInUse:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.02)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):  # other attempts of the run are still there
        folder.rmdir()
