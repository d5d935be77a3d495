"""The training loss rises far above where it began, or gives back most of what it had gained, and stays there."""

import math
from typing import ClassVar

import msgspec
from pydantic import Field

from app.alerts import reading
from app.alerts.base import Detector, Memory
from app.alerts.model import Evidence, FrameView, RunContext, Verdict
from app.alerts.robust import Window
from gyrostat.spec.run import Severity

_FIRST = 5
_RECENT = 20
_OUTLIER = 10.0
_NOISE_SIGMAS = 6.0


class DivergenceMemory(Memory):
    """What the loss was at the start and at its best, and for how long it has been too high."""

    first: list[float] = msgspec.field(default_factory=list)
    recent: Window = msgspec.field(default_factory=Window)
    best: float = math.inf
    noise: float = 0.0
    streak: int = 0
    onset_step: int | None = None
    peak: float = 0.0
    diverged: bool = False


class Divergence(Detector):
    """The loss leaves and does not come back."""

    kind: ClassVar[str] = "divergence"
    title: ClassVar[str] = "Loss diverges"
    severity: ClassVar[Severity] = "critical"
    metrics: ClassVar[tuple[str, ...]] = ("loss.train",)
    explanation: ClassVar[str] = (
        "The training loss has risen far above its first values and stays there, or it has given back most of what "
        "the training had gained. Steps are then larger than the curvature allows, and each one makes it worse: "
        "nearly always the learning rate is too large for this network, or warmup is missing. One high step does "
        "not count (see loss_spike), and noise around a plateau does not either."
    )
    source: ClassVar[str] = (
        "Rate at least 2 against the lowest loss: TheDeepChecker (arXiv 2204.00694); 2 times the mean for more "
        "than 4 steps: llm-foundry KillLossSpike; 3 times the mean: Lightning SpikeDetection. Here 3 times the "
        "first losses for 5 steps, and half of the progress lost, beyond 6 robust standard deviations, for 10 steps"
    )
    quiet: ClassVar[int] = 50
    memory: ClassVar[type[Memory]] = DivergenceMemory

    factor: float = Field(3.0, gt=1, le=1e6)
    """The loss is too high above so many times its first values."""
    steps: int = Field(5, ge=1, le=10_000)
    """Measured steps in a row that it must be too high."""
    lost: float = Field(0.5, gt=0, le=1)
    """Share of the progress since the first values that may be lost before it counts as diverging."""
    lost_steps: int = Field(10, ge=1, le=10_000)
    """Measured steps in a row that so much must be lost, by the median of the last 20."""

    def observe(self, memory: DivergenceMemory, frame: FrameView, context: RunContext) -> Verdict | None:
        """Judges the training loss. A non-finite loss counts only after a rise: alone it is `non_finite`'s finding."""
        loss = reading.scalar(frame, "loss.train")
        if loss is None:
            return None
        if not math.isfinite(loss):
            risen = memory.diverged or memory.streak > 0
            memory.diverged = risen
            return self._breach(memory, frame.step, loss) if risen else Verdict(breached=False)
        if len(memory.first) < _FIRST and (not memory.first or loss <= _OUTLIER * abs(memory.first[0])):
            memory.first.append(loss)
        high, threshold, needed = self._judge(memory, loss)
        if not high:
            memory.streak, memory.onset_step, memory.peak, memory.diverged = 0, None, 0.0, False
            return Verdict(breached=False)
        memory.streak += 1
        memory.peak = max(memory.peak, loss)
        memory.onset_step = frame.step if memory.onset_step is None else memory.onset_step
        memory.diverged = memory.diverged or memory.streak >= needed
        if not memory.diverged:
            return Verdict(breached=False, suspicious=memory.streak > 1)
        return self._breach(memory, frame.step, loss, threshold)

    def restarted(self, memory: DivergenceMemory) -> DivergenceMemory:
        """Keeps the run's first losses, which a resumed run's own would understate."""
        return DivergenceMemory(first=memory.first)

    def _judge(self, memory: DivergenceMemory, loss: float) -> tuple[bool, float, int]:
        """Whether the loss is too high now, above what, and for how many steps that must last."""
        above_start = self.factor * max(abs(value) for value in memory.first)
        if loss > above_start:
            return True, above_start, self.steps
        # A loss that is far too high stays out of the window: it would drag best and spread along.
        memory.recent.add(loss, _RECENT)
        if len(memory.recent) < _RECENT:
            return False, above_start, self.steps
        now = memory.recent.baseline()
        if now.median < memory.best:
            memory.best, memory.noise = now.median, now.beyond(_NOISE_SIGMAS) - now.median
            return False, above_start, self.steps
        progress = max(memory.first) - memory.best
        above_best = memory.best + max(self.lost * progress, memory.noise)
        return now.median > above_best, above_best, self.lost_steps

    def _breach(self, memory: DivergenceMemory, step: int, loss: float, threshold: float | None = None) -> Verdict:
        first = memory.first[0] if memory.first else math.nan
        best = min(memory.best, min(memory.first, default=math.inf))
        state = f"is {loss:.4g}" if math.isfinite(loss) else "is no longer a finite number"
        limit = f" (limit {threshold:.4g})" if threshold is not None else ""
        summary = (
            f"The training loss rose from {first:.4g} (best {best:.4g}) to as much as {memory.peak:.4g} since step "
            f"{memory.onset_step} and {state}{limit}. The steps are too large for this network: a smaller or slower "
            "rising learning rate is the usual cure."
        )
        text = f"loss.train was {loss:.4g} at step {step}, against {first:.4g} in the first step"
        evidence = Evidence(metric="loss.train", name=None, step=step, value=loss, threshold=threshold, text=text)
        return Verdict(breached=True, onset_step=memory.onset_step, summary=summary, evidence=(evidence,))
