"""The gradient grows far beyond what it was, over time or from the last layers to the first."""

import math
from typing import ClassVar

import msgspec
import numpy as np
from pydantic import Field

from app.alerts import reading
from app.alerts.base import Detector, Memory
from app.alerts.model import Evidence, FrameView, RunContext, Verdict
from app.alerts.robust import Window, median
from gyrostat.spec.run import Severity

_FIRST = 8
_WINDOW = 64
_LAYERS = 4


class ExplodingMemory(Memory):
    """Norms of the start and of late, and how high the loss has been."""

    first: list[float] = msgspec.field(default_factory=list)
    recent: Window = msgspec.field(default_factory=Window)
    first_loss: float | None = None
    highest_loss: float = 0.0
    deep: int = 0
    onset_step: int | None = None


class ExplodingGradient(Detector):
    """The gradient norm against its own baseline, against a ceiling, and over depth."""

    kind: ClassVar[str] = "exploding_gradient"
    title: ClassVar[str] = "Gradient explodes"
    severity: ClassVar[Severity] = "critical"
    metrics: ClassVar[tuple[str, ...]] = ("gradient.global_norm", "gradient.norm", "loss.train")
    explanation: ClassVar[str] = (
        "The gradient's norm has grown far beyond what this run began with, or it grows from layer to layer "
        "towards the input. One such step can throw the weights to where nothing is learnt any more. Without "
        "normalization or residual connections the factors of many layers multiply; with a rate that is too large "
        "the weights grow and the gradient with them. Norms are read before clipping; where the run clips, the "
        "weights are protected and the alert is a warning."
    )
    source: ClassVar[str] = (
        "Ceiling 100 on the global norm: trainpulse; 1000: torchmortem; ten times the baseline: Megatron-LM "
        "is_unexpectedly_large (10 times the largest of the last 100), trainscope explosion; first to last layer "
        "above 70: AutoTrainer (ICSE 2021)"
    )
    quiet: ClassVar[int] = 20
    memory: ClassVar[type[Memory]] = ExplodingMemory

    ceiling: float = Field(100.0, gt=0, le=1e9)
    """A global norm up to this is never an explosion, however small it was before."""
    factor: float = Field(10.0, gt=1, le=1e6)
    """Above the ceiling: so many times the run's first and its recent norms (or its first loss) is an explosion."""
    depth_ratio: float = Field(70.0, gt=1, le=1e9)
    """First layers' over last layers' norm; above it, with norms above the ceiling, it explodes over depth."""

    def observe(self, memory: ExplodingMemory, frame: FrameView, context: RunContext) -> Verdict | None:
        """Judges the global norm and the norms over depth; a value found too large does not enter the baseline."""
        self._note_loss(memory, frame)
        norms = reading.vector(frame, "gradient.norm", context)
        whole = reading.scalar(frame, "gradient.global_norm")
        if whole is None and norms is not None:
            whole = _global_norm(norms)
        if whole is None:
            return None
        before = self._before(memory)
        ratio = self._over_depth(norms, context)
        memory.deep = memory.deep + 1 if ratio is not None else 0
        if not self._exploded(memory, whole, before) and memory.deep < 2:
            memory.onset_step = frame.step if ratio is not None and memory.onset_step is None else None
            if math.isfinite(whole):
                memory.recent.add(whole, _WINDOW)
                if len(memory.first) < _FIRST:
                    memory.first.append(whole)
            return Verdict(breached=False, suspicious=ratio is not None)
        memory.onset_step = frame.step if memory.onset_step is None else memory.onset_step
        return self._breach(memory, frame.step, whole, before, ratio, norms, context)

    def restarted(self, memory: ExplodingMemory) -> ExplodingMemory:
        """Keeps the run's first norms and loss."""
        return ExplodingMemory(first=memory.first, first_loss=memory.first_loss)

    def _note_loss(self, memory: ExplodingMemory, frame: FrameView) -> None:
        loss = reading.scalar(frame, "loss.train")
        if loss is not None and math.isfinite(loss):
            memory.first_loss = abs(loss) if memory.first_loss is None else memory.first_loss
            memory.highest_loss = max(loss, memory.highest_loss * 0.99)

    def _before(self, memory: ExplodingMemory) -> float | None:
        """The run's own norm: the larger of its first and its recent one. None before there is any."""
        if not memory.recent.values:
            return None
        return max(median(memory.first), median(memory.recent.values))

    def _exploded(self, memory: ExplodingMemory, whole: float, before: float | None) -> bool:
        loss_rose = memory.first_loss is not None and memory.highest_loss > self.factor * memory.first_loss
        if not math.isfinite(whole):
            return loss_rose or memory.onset_step is not None
        if whole <= self.ceiling:
            return False
        return loss_rose or (before is not None and whole > self.factor * before)

    def _over_depth(self, norms: np.ndarray | None, context: RunContext) -> float | None:
        """First over last layers' norm where that is an explosion, else None."""
        if norms is None:
            return None
        layers = norms[reading.matrices("gradient.norm", context)]
        layers = layers[np.isfinite(layers)]
        if len(layers) < _LAYERS:
            return None
        early, late = reading.ends(layers)
        return early / late if late > 0 and early > self.ceiling and early / late > self.depth_ratio else None

    def _breach(
        self,
        memory: ExplodingMemory,
        step: int,
        whole: float,
        before: float | None,
        ratio: float | None,
        norms: np.ndarray | None,
        context: RunContext,
    ) -> Verdict:
        names = _largest(norms, context)
        against = f"{before:.3g} before" if before is not None else f"a ceiling of {self.ceiling:.3g}"
        size = f"is {whole:.3g}" if math.isfinite(whole) else "has left the range of the number format"
        parts = [f"The gradient's global norm {size} at step {step}, against {against}."]
        if ratio is not None:
            parts.append(f"In the first layers it is {ratio:.3g} times that of the last.")
        if names:
            parts.append(f"Largest in {reading.listed(names)}.")
        clipped = bool(context.spec and (context.spec.get("gradients") or {}).get("clip"))
        if clipped:
            parts.append("The run clips gradients, so the weights move no further than that allows.")
        threshold = max(self.ceiling, self.factor * before) if before is not None else self.ceiling
        text = f"gradient.global_norm was {whole:.3g} at step {step}, against {against}"
        evidence = [
            Evidence(metric="gradient.global_norm", name=None, step=step, value=whole, threshold=threshold, text=text)
        ]
        return Verdict(
            breached=True,
            names=names,
            onset_step=memory.onset_step,
            severity="warning" if clipped else None,
            summary=" ".join(parts),
            evidence=tuple(evidence),
        )


def _global_norm(norms: np.ndarray) -> float | None:
    with np.errstate(invalid="ignore"):  # a signalling NaN may be among them
        known = norms[~np.isnan(norms) | reading.broken(norms)].astype(np.float64)
    return float(np.sqrt(np.square(known).sum())) if len(known) else None


def _largest(norms: np.ndarray | None, context: RunContext, most: int = 5) -> tuple[str, ...]:
    """Parameters by the size of their gradient, non-finite ones first."""
    if norms is None:
        return ()
    size = np.where(reading.broken(norms), np.inf, np.nan_to_num(norms, nan=-1.0))
    names = reading.names_of("gradient.norm", context)
    return tuple(names[i] for i in np.argsort(-size, kind="stable")[:most] if size[i] > 0)
