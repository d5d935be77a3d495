"""What a detector is: bounded settings, a small memory, and one judgement of each frame. Defining one registers it."""

from typing import Any, ClassVar, TypeVar

import msgspec

from app.alerts.model import FrameView, RunContext, Verdict
from gyrostat.spec.catalogue import Settings
from gyrostat.spec.run import Severity

M = TypeVar("M", bound="Memory")


class Memory(msgspec.Struct):
    """What a detector remembers between frames; plain numbers, lists and bytes, so that it survives a restart."""


DETECTORS: dict[str, type["Detector"]] = {}
"""Every detector by its kind, in the order of definition."""


class Detector(Settings):
    """Judges the frames of a run. Its fields are its thresholds.

    Attributes:
        kind: unique, as in `spec.rules` and in alerts.
        title: what the alert is called.
        severity: of its alerts, unless a verdict or an operator says otherwise.
        metrics: what it reads; empty for one that is raised from outside the frames.
        explanation: what it means and why it matters, in plain words.
        source: where the thresholds come from.
        hold: breached evaluations in a row before an alert opens.
        quiet: clean evaluations in a row before it is resolved.
        memory: the class of its memory; `memory()` is the one to start with.
    """

    kind: ClassVar[str]
    title: ClassVar[str]
    severity: ClassVar[Severity] = "warning"
    metrics: ClassVar[tuple[str, ...]]
    explanation: ClassVar[str]
    source: ClassVar[str]
    hold: ClassVar[int] = 1
    quiet: ClassVar[int] = 20
    memory: ClassVar[type[Memory]] = Memory

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        if cls.kind in DETECTORS:
            raise TypeError(f"two detectors have the kind {cls.kind!r}: {DETECTORS[cls.kind]} and {cls}")
        DETECTORS[cls.kind] = cls

    def initial(self) -> Memory:
        """The memory before the first frame."""
        return self.memory()

    def restarted(self, memory: Any) -> Memory:
        """The memory when the training begins again from an earlier step; by default it starts afresh."""
        return self.initial()

    def observe(self, memory: Any, frame: FrameView, context: RunContext) -> Verdict | None:
        """Judges one frame and keeps what it must remember in `memory`.

        Returns:
            None where the frame holds nothing that it reads: nothing is then said, neither breached nor clean.
        """
        raise NotImplementedError(f"{type(self).__name__} does not judge frames")
