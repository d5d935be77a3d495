"""A loss far above what it has been, in one step or for longer."""

import math
from typing import ClassVar

import msgspec
from pydantic import Field

from app.alerts import reading
from app.alerts.base import Detector, Memory
from app.alerts.model import Evidence, FrameView, RunContext, Verdict
from app.alerts.robust import Baseline, Window
from gyrostat.spec.run import Severity

_MINIMUM = 32


class SpikeMemory(Memory):
    """The losses that were no spikes, the best level among them, and the spike that is going on."""

    recent: Window = msgspec.field(default_factory=Window)
    first: float | None = None
    best: float = math.inf
    streak: int = 0
    onset_step: int | None = None
    peak: float = 0.0


class LossSpike(Detector):
    """The loss against the median of its recent values, in robust standard deviations. Spikes stay out of it."""

    kind: ClassVar[str] = "loss_spike"
    title: ClassVar[str] = "Loss spikes"
    severity: ClassVar[Severity] = "info"
    metrics: ClassVar[tuple[str, ...]] = ("loss.train",)
    explanation: ClassVar[str] = (
        "The training loss jumped far above its recent values. A single spike that recovers costs little and is "
        "for information (a hard or broken batch, or the optimizer's second moments lagging behind); one that does "
        "not recover within some steps is a warning, since such runs are usually rewound to before it. A spike "
        "must be large against the run's own noise and against all that it has learnt, so the jitter of a loss "
        "near zero is none."
    )
    source: ClassVar[str] = (
        "Six standard deviations over 128 steps: OLMo-core StabilityMonitor and SkipStepOptimizer; here with "
        "median and interquartile range, and with spikes kept out of the window, where OLMo's grows blind after "
        "one; rewinding: PaLM, arXiv 2204.02311, section 5.1"
    )
    quiet: ClassVar[int] = 50
    memory: ClassVar[type[Memory]] = SpikeMemory

    sigmas: float = Field(6.0, gt=1, le=1000)
    """Robust standard deviations above the median from which a loss is a spike."""
    window: int = Field(128, ge=32, le=4096)
    """Losses that make up the baseline."""
    rise: float = Field(0.1, ge=0, le=10)
    """A spike must also rise by this share of what the loss has fallen since the start."""
    recover_within: int = Field(10, ge=1, le=10_000)
    """Measured steps within which a harmless spike is over."""
    new_level_after: int = Field(100, ge=2, le=100_000)
    """A spike of so many measured steps is the new level: the baseline starts afresh."""

    def observe(self, memory: SpikeMemory, frame: FrameView, context: RunContext) -> Verdict | None:
        """Judges the training loss; a non-finite one is `non_finite`'s finding and stays out of the window."""
        loss = reading.scalar(frame, "loss.train")
        if loss is None or not math.isfinite(loss):
            return None
        if memory.first is None:
            memory.first = loss
        if len(memory.recent) < _MINIMUM:
            memory.recent.add(loss, self.window)
            return Verdict(breached=False)
        usual = memory.recent.baseline()
        memory.best = min(memory.best, usual.median)
        threshold = self._threshold(memory, usual)
        if loss <= threshold:
            memory.recent.add(loss, self.window)
            memory.streak, memory.onset_step, memory.peak = 0, None, 0.0
            return Verdict(breached=False)
        return self._spike(memory, frame.step, loss, usual, threshold)

    def restarted(self, memory: SpikeMemory) -> SpikeMemory:
        """Keeps what the whole run has learnt so far; the recent losses are measured anew."""
        return SpikeMemory(first=memory.first, best=memory.best)

    def _threshold(self, memory: SpikeMemory, usual: Baseline) -> float:
        first = usual.median if memory.first is None else memory.first
        progress = max(first - memory.best, 0.0)
        floor = usual.median + max(self.rise * progress, 1e-6 * abs(usual.median))
        return max(usual.beyond(self.sigmas), floor)

    def _spike(self, memory: SpikeMemory, step: int, loss: float, usual: Baseline, threshold: float) -> Verdict:
        memory.streak += 1
        memory.peak = max(memory.peak, loss)
        memory.onset_step = step if memory.onset_step is None else memory.onset_step
        onset, peak, lasting = memory.onset_step, memory.peak, memory.streak > self.recover_within
        end = "has not come back since" if lasting else f"was still up at step {step}"
        summary = (
            f"The training loss jumped to {peak:.4g} at step {onset}, from a median of {usual.median:.4g} over the "
            f"last {len(memory.recent)} steps (threshold {threshold:.4g}); it {end}."
        )
        if memory.streak >= self.new_level_after:
            memory.recent, memory.streak, memory.onset_step, memory.peak = Window([loss]), 0, None, 0.0
        text = f"loss.train was {loss:.4g} at step {step}, against a median of {usual.median:.4g}"
        evidence = Evidence(metric="loss.train", name=None, step=step, value=loss, threshold=threshold, text=text)
        return Verdict(
            breached=True,
            onset_step=onset,
            severity="warning" if lasting else None,
            summary=summary,
            evidence=(evidence,),
        )
