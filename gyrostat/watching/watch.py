"""What `attach` returns: a loop that is being watched."""

import atexit
import logging
import os
import reprlib
import sys
import traceback
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch import Tensor

from gyrostat.probes import ProbeSession
from gyrostat.spec.metrics import METRICS
from gyrostat.stream.attached import Attached
from gyrostat.stream.stream import Stream
from gyrostat.watching.scalars import MOST, metric_name
from gyrostat.watching.stages import Stages
from gyrostat.wire.messages import EventKind

logger = logging.getLogger(__name__)

TRACEBACK_CHARACTERS = 65_536


@dataclass(frozen=True, eq=False, kw_only=True)
class Parts:
    """What watching takes."""

    attached: Attached
    stream: Stream
    session: ProbeSession
    stages: Stages


class Watch:
    """A training that is watched; made by `attach`, and over with `finish`, the end of a `with`, or the process.

    `parts` is None on ranks that are not watched: there, nothing does anything.
    """

    def __init__(self, parts: Parts | None) -> None:
        self._parts = parts
        self._names: dict[str, str] = {}
        self._open = parts is not None
        self._process, self._earlier_error = os.getpid(), _uncaught()
        if self._open:
            atexit.register(self._at_exit)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish(error)

    @property
    def step(self) -> int:
        """Number of the optimizer step that is being made, or was made last; 0 before the first."""
        return self._parts.stages.step if self._parts else 0

    @property
    def folder(self) -> Path | None:
        """Where measurements wait for the backend: what `gyrostat sync` is given."""
        return self._parts.attached.folder if self._parts else None

    @property
    def run(self) -> str | None:
        """Id of the run; None until a backend has made it."""
        return Attached.read(self._parts.attached.folder).run if self._parts else None

    @property
    def url(self) -> str | None:
        """Address of the run's page; None until a backend has made the run."""
        if self._parts is None:
            return None
        attached = Attached.read(self._parts.attached.folder)
        return None if attached.run is None else f"{attached.server.rstrip('/')}/runs/{attached.run}"

    def log(self, scalars: Mapping[str, Tensor | float]) -> None:
        """Adds numbers of the loop's own to the frame of the present step: until the next one begins, the last one.

        Names are those of the catalogue (`loss.train`, `loss.validation`, ...) or any others (`my/accuracy`), see
        `metric_name`. Values are numbers, or tensors of one element, which are not waited for.

        Raises:
            ValueError: a name that cannot be a metric's or that a probe measures, or what is no single real number.
            TypeError: it is no mapping.
        """
        if not isinstance(scalars, Mapping):
            raise TypeError(f"log takes numbers by their names, as {{'loss.train': 0.5}}; got {type(scalars).__name__}")
        if not self._open or self._parts is None:
            return
        for given, value in scalars.items():
            number = _number(given, value)
            name = self._names.get(given) or self._announced(given, self._parts.session)
            self._parts.stages.scalars[name] = number

    def paused(self) -> AbstractContextManager[None]:
        """A `with` block whose passes and optimizer steps are none of this training's."""
        return self._parts.stages.paused() if self._parts else nullcontext()

    def forward_begins(self, samples: int = 0) -> None:
        """Says that a pass of the training begins; for loops in which the model itself is not called.

        Args:
            samples: of this (micro-)batch, for throughput and the noise of its gradient; 0: unknown.
        """
        if self._open and self._parts:
            self._parts.stages.expect_passes(samples)

    def backward_done(self) -> None:
        """Says that the gradients are final; for loops that attached with `accumulation=None`."""
        if self._open and self._parts:
            self._parts.stages.read_gradients()

    def finish(self, error: BaseException | None = None, *, timeout: float = 5.0) -> None:
        """Ends the watching: finished, failed with an `error`, or stopped by a KeyboardInterrupt.

        Hooks are removed, and what is measured is sent for up to `timeout` seconds; what is left then waits in
        `folder` for `gyrostat sync`. A second call does nothing.
        """
        if not self._open or self._parts is None:
            return
        self._open = False
        atexit.unregister(self._at_exit)
        stream, folder = self._parts.stream, self._parts.attached.folder
        try:
            self._parts.stages.finish()
        finally:
            self._parts.session.__exit__(type(error) if error else None, error, None)
            kind, told = _end(error)
            stream.event(kind, self.step, told)
            waiting = stream.close(timeout).spooled.frames
        if waiting:
            logger.warning("%d frames wait in %s; send them with: gyrostat sync %s", waiting, folder, folder)

    def superseded(self) -> None:
        """Ends the watching, because another watch has taken the model over."""
        self.finish(_Superseded("its model was attached again"))

    def _announced(self, given: str, session: ProbeSession) -> str:
        name = metric_name(given)
        if name not in self._names.values():
            if name not in METRICS and sum(known not in METRICS for known in self._names.values()) >= MOST:
                raise ValueError(f"{given!r} would be one of more than {MOST} different scalars; log fewer names")
            session.announce(name, f"Logged as {given!r} by the training itself."[:1000])
        self._names[given] = name
        return name

    def _at_exit(self) -> None:
        if os.getpid() == self._process:  # a forked child has not trained
            error = _uncaught()
            self.finish(None if error is self._earlier_error else error, timeout=2.0)


class _Superseded(Exception):
    """Another watch has taken the model over."""


def _number(given: str, value: Any) -> Tensor | float:
    """What is logged as `given`, refused here and now: in a frame it would end the watching, steps later."""
    if isinstance(value, Tensor):
        if value.numel() != 1 or value.is_complex():
            what = f"a tensor of shape {tuple(value.shape)} and {value.dtype}"
            raise ValueError(f"{given!r} is {what}; log a tensor of one element, a real number")
        return value.detach().clone()  # loops add to theirs, or zero them
    if not isinstance(value, str | bytes):
        try:
            return float(value)
        except (TypeError, ValueError, OverflowError):
            pass  # told below
    raise ValueError(
        f"{given!r} is {reprlib.repr(value)}, which is no real number; log numbers or tensors of one element"
    )


def _end(error: BaseException | None) -> tuple[EventKind, dict[str, Any]]:
    if error is None:
        return "finished", {}
    if isinstance(error, KeyboardInterrupt | _Superseded):
        return "stopped", {"reason": str(error) or "interrupted by its user"}
    trace = "".join(traceback.format_exception(error))[-TRACEBACK_CHARACTERS:]
    return "failed", {"error": f"{type(error).__name__}: {error}", "traceback": trace}


def _uncaught() -> BaseException | None:
    """The exception that nobody caught, if the interpreter has met one."""
    found: Any = getattr(sys, "last_value", None)
    return found if isinstance(found, BaseException) else None
