"""Sharpness above what the optimizer tolerates at its learning rate."""

import math
from typing import ClassVar

import msgspec
from pydantic import Field

from app.alerts import reading
from app.alerts.base import Detector, Memory
from app.alerts.model import Evidence, FrameView, RunContext, Verdict
from app.alerts.robust import Window, baseline, median
from gyrostat.spec.run import Severity

_TREND = 40


class SharpnessMemory(Memory):
    """Recent losses, for their trend, and how often in a row the sharpness was over the limit."""

    losses: Window = msgspec.field(default_factory=Window)
    streak: int = 0
    onset_step: int | None = None


class Sharpness(Detector):
    """Largest Hessian eigenvalue over the optimizer's stability limit, with the loss's trend."""

    kind: ClassVar[str] = "sharpness"
    title: ClassVar[str] = "Sharper than the optimizer tolerates"
    severity: ClassVar[Severity] = "info"
    metrics: ClassVar[tuple[str, ...]] = ("curvature.sharpness_over_limit", "loss.train")
    explanation: ClassVar[str] = (
        "The largest curvature of the loss exceeds what the optimizer is stable at with its present learning rate: "
        "2/η for gradient descent, (2 + 2β)/η with momentum, (2 + 2β₁)/((1 − β₁)η) for Adam on the preconditioned "
        "Hessian. Full-batch training sits at that limit in a healthy way, the edge of stability, so by itself "
        "this is for information; together with a rising loss it is a warning, since the rate is then too large."
    )
    source: ClassVar[str] = (
        "Limits: Cohen et al. 2021, arXiv 2103.00065, and 2022, arXiv 2207.14484; no alarm by itself: the same, "
        "and Cockpit (arXiv 2102.06604)"
    )
    quiet: ClassVar[int] = 3
    memory: ClassVar[type[Memory]] = SharpnessMemory

    limit: float = Field(1.0, gt=0, le=1000)
    """Sharpness over the optimizer's limit, above which a rising loss is a warning."""
    far: float = Field(2.0, gt=0, le=1000)
    """The same, above which it is told for information without a rising loss; the edge of stability hovers around 1."""
    sustained: int = Field(2, ge=1, le=1000)
    """Measurements in a row; curvature is measured every 50 steps by default."""

    def observe(self, memory: SharpnessMemory, frame: FrameView, context: RunContext) -> Verdict | None:
        """Judges frames with a curvature measurement; of the others it only keeps the loss."""
        loss = reading.scalar(frame, "loss.train")
        if loss is not None and math.isfinite(loss):
            memory.losses.add(loss, _TREND)
        ratio = reading.scalar(frame, "curvature.sharpness_over_limit")
        if ratio is None or not math.isfinite(ratio):
            return None
        rising = _rising(memory.losses)
        if ratio <= self.limit:
            memory.streak, memory.onset_step = 0, None
            return Verdict(breached=False)
        memory.streak += 1
        memory.onset_step = frame.step if memory.onset_step is None else memory.onset_step
        if memory.streak < self.sustained or not (rising or ratio > self.far):
            return Verdict(breached=False, suspicious=rising)
        return self._breach(memory, frame.step, ratio, rising)

    def _breach(self, memory: SharpnessMemory, step: int, ratio: float, rising: bool) -> Verdict:
        trend = "the loss is rising: the rate is too large" if rising else "the loss is not rising"
        summary = (
            f"Since step {memory.onset_step} the sharpness has been above what the optimizer tolerates, {ratio:.3g} "
            f"times it at step {step}, and {trend}."
        )
        text = f"curvature.sharpness_over_limit was {ratio:.3g} at step {step}"
        evidence = Evidence(
            metric="curvature.sharpness_over_limit", name=None, step=step, value=ratio, threshold=self.limit, text=text
        )
        return Verdict(
            breached=True,
            onset_step=memory.onset_step,
            severity="warning" if rising else None,
            summary=summary,
            evidence=(evidence,),
        )


def _rising(losses: Window) -> bool:
    """Whether the newer half of the losses lies above the older by more than the older's noise."""
    if len(losses) < _TREND:
        return False
    older = baseline(losses.values[: _TREND // 2])
    return median(losses.values[_TREND // 2 :]) > older.median + older.sigma
