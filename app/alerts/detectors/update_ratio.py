"""Weights that move too far in a step, or hardly at all."""

import math
from typing import ClassVar

import msgspec
import numpy as np
import numpy.typing as npt
from pydantic import Field

from app.alerts import reading
from app.alerts.base import Detector, Memory
from app.alerts.model import Evidence, FrameView, RunContext, Verdict
from app.alerts.streaks import Streaks


class UpdateMemory(Memory):
    """For each weight matrix how long it has moved too much or too little; the largest rate, the first loss."""

    high: Streaks = msgspec.field(default_factory=Streaks)
    low: Streaks = msgspec.field(default_factory=Streaks)
    rate: float = 0.0
    largest_rate: float = 0.0
    rising: bool = True
    first_loss: float | None = None
    loss: float | None = None


class UpdateRatio(Detector):
    """‖Δw‖/‖w‖ of each weight matrix against a band."""

    kind: ClassVar[str] = "update_ratio"
    title: ClassVar[str] = "Updates out of proportion"
    metrics: ClassVar[tuple[str, ...]] = ("update.ratio", "optimizer.learning_rate", "loss.train")
    explanation: ClassVar[str] = (
        "A step changes a weight matrix by too large a part of itself, so that what it had learnt is overwritten, "
        "or by so small a part that it does not learn. About 1e-3 is usual. Biases and normalization gains are "
        "left out, since they start at or near zero. Too small is judged only while the loss has not yet fallen by "
        "half and the rate is neither warming up nor decayed: near the end of a training, updates are small by "
        "intent. Weights that do not move at all are taken for frozen."
    )
    source: ClassVar[str] = (
        "Above 0.1: torchmortem, DeepDiagnosis (ICSE 2022), TheDeepChecker (arXiv 2204.00694). Below 1e-6: between "
        "torchmortem's 1e-5 and SageMaker Debugger's 1e-8, which a fine-tuning rate does not reach"
    )
    quiet: ClassVar[int] = 10
    memory: ClassVar[type[Memory]] = UpdateMemory

    high: float = Field(0.1, gt=0, le=10)
    """A matrix that moves by more than this share of its norm moves too far."""
    low: float = Field(1e-6, ge=0, lt=1)
    """One that moves by less hardly learns; 0 switches this side off."""
    evaluations: int = Field(3, ge=1, le=10_000)
    """Evaluations in a row that it must be so."""
    steps: int = Field(20, ge=0, le=1_000_000)
    """Steps that this must span, since probes measure every step when they look closer."""

    def observe(self, memory: UpdateMemory, frame: FrameView, context: RunContext) -> Verdict | None:
        """Judges the weight matrices that were measured; frames without updates only tell rate and loss."""
        self._note(memory, frame)
        ratios = reading.vector(frame, "update.ratio", context)
        if ratios is None:
            return None
        places = reading.matrices("update.ratio", context)
        values = ratios[places]
        known = np.isfinite(values)
        if not known.any():
            return None
        values = np.where(known, values, np.float32(0))
        lasting = {"evaluations": self.evaluations, "steps": self.steps}
        now_high = memory.high.extend(known & (values > self.high), frame.step, known)
        much = memory.high.lasting(len(values), frame.step, **lasting)
        is_low = known & (values < self.low) & (values > 0) if self._judges_low(memory) else np.zeros_like(known)
        now_low = memory.low.extend(is_low, frame.step, known)
        little = memory.low.lasting(len(values), frame.step, **lasting)
        if not (much.any() or little.any()):
            return Verdict(breached=False, suspicious=bool(now_high.any() or now_low.any()))
        names = reading.names_of("update.ratio", context)
        layers = [names[i] for i in places]
        if much.any():
            return _breach(frame.step, layers, values, much, self.high, memory.high.first_step(much), too_far=True)
        return _breach(frame.step, layers, values, little, self.low, memory.low.first_step(little), too_far=False)

    def restarted(self, memory: UpdateMemory) -> UpdateMemory:
        """Keeps the run's largest rate and first loss."""
        return UpdateMemory(largest_rate=memory.largest_rate, first_loss=memory.first_loss)

    def _note(self, memory: UpdateMemory, frame: FrameView) -> None:
        rate = reading.scalar(frame, "optimizer.learning_rate")
        if rate is not None and math.isfinite(rate):
            memory.rising = rate > memory.rate
            memory.rate, memory.largest_rate = rate, max(rate, memory.largest_rate)
        loss = reading.scalar(frame, "loss.train")
        if loss is not None and math.isfinite(loss):
            memory.first_loss = loss if memory.first_loss is None else memory.first_loss
            memory.loss = loss

    def _judges_low(self, memory: UpdateMemory) -> bool:
        settled = memory.largest_rate > 0 and not memory.rising and memory.rate > 0.1 * memory.largest_rate
        untaught = (
            memory.loss is not None and memory.first_loss is not None and memory.loss > 0.5 * abs(memory.first_loss)
        )
        return settled and untaught


def _breach(
    step: int,
    layers: list[str],
    values: npt.NDArray[np.float32],
    where: npt.NDArray[np.bool_],
    limit: float,
    onset: int | None,
    *,
    too_far: bool,
) -> Verdict:
    found = np.flatnonzero(where)
    order = np.argsort(-values[found] if too_far else values[found], kind="stable")
    worst = found[order][: reading.MAX_NAMES]
    names = tuple(layers[i] for i in worst)
    verb, most = ("move by more than", "most") if too_far else ("move by less than", "least")
    end = "what they have learnt is overwritten" if too_far else "they hardly learn"
    summary = (
        f"Since step {onset}, {len(found)} of {len(layers)} weight matrices {verb} {limit:g} of their norm in a step, "
        f"{most} of all {reading.listed(names)} ({values[worst[0]]:.2g} at step {step}): {end}."
    )
    evidence = tuple(
        Evidence(
            metric="update.ratio",
            name=layers[i],
            step=step,
            value=float(values[i]),
            threshold=limit,
            text=f"update.ratio of {layers[i]} was {values[i]:.2g} at step {step}",
        )
        for i in worst[:5]
    )
    return Verdict(breached=True, names=names, onset_step=onset, summary=summary, evidence=evidence)
