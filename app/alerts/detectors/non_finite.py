"""NaN or infinity in loss, activations, gradients or weights, and where it came up first."""

from typing import ClassVar

import numpy as np

from app.alerts import reading
from app.alerts.base import Detector, Memory
from app.alerts.model import Evidence, FrameView, RunContext, Verdict
from gyrostat.spec.run import Severity

_SCALARS = ("loss.train", "loss.validation", "gradient.global_norm")
# in the order in which a step computes them: the first that is broken is nearest to the cause
_VECTORS = ("activation.rms", "activation.max_abs", "gradient.norm", "weight.norm")
_GRADIENTS = ("gradient.global_norm", "gradient.norm")
_PRECISION = ("precision.overflow", "precision.loss_scale")
_NOUNS = {
    "activation.rms": "output of module",
    "activation.max_abs": "output of module",
    "gradient.norm": "gradient of parameter",
    "weight.norm": "weights of parameter",
}


class NonFiniteMemory(Memory):
    """Where it began: the layers named by the first frame that named any. Later everything is NaN and tells nothing."""

    onset_step: int | None = None
    names: tuple[str, ...] = ()
    origin: str = ""
    clean: int = 0


class NonFinite(Detector):
    """Any NaN or infinity in what was measured. It has no thresholds."""

    kind: ClassVar[str] = "non_finite"
    title: ClassVar[str] = "Not a finite number"
    severity: ClassVar[Severity] = "critical"
    metrics: ClassVar[tuple[str, ...]] = (*_SCALARS, *_VECTORS, *_PRECISION)
    explanation: ClassVar[str] = (
        "A number in the training became NaN or infinite: the loss, a layer's output, a gradient or a weight. From "
        "a weight it spreads to every later step, so the run does not recover by itself. A gradient that overflowed "
        "at a loss scale of 1 or more is no finding: float16 training leaves such a step out. The first layer, in "
        "order of depth, of the first frame that shows it is named; usual causes are a rate that is too large, a "
        "division by or a logarithm of zero, or values beyond the number format's range."
    )
    source: ClassVar[str] = (
        "Any non-finite value: SageMaker Debugger ExplodingTensor, DeepDiagnosis (ICSE 2022), TheDeepChecker "
        "(arXiv 2204.00694); the first module in depth order: fairseq nan_detector.py"
    )
    quiet: ClassVar[int] = 20
    memory: ClassVar[type[Memory]] = NonFiniteMemory

    def observe(self, memory: NonFiniteMemory, frame: FrameView, context: RunContext) -> Verdict | None:
        """Looks at every value that it reads; "not measured" is not a finding."""
        evidence, read = _broken_scalars(frame)
        names, origin, more, layers_read = _broken_layers(frame, context)
        evidence += more
        if not (read or layers_read):
            return None
        if not evidence:
            memory.clean += 1
            if memory.clean >= self.quiet:
                memory.onset_step, memory.names, memory.origin = None, (), ""
            return Verdict(breached=False)
        memory.clean = 0
        if memory.onset_step is None:
            memory.onset_step = frame.step
        if names and not memory.names:
            memory.names, memory.origin = names, origin
        return Verdict(
            breached=True,
            names=memory.names,
            onset_step=memory.onset_step,
            summary=_summary(memory, evidence),
            evidence=tuple(evidence),
        )


def _broken_scalars(frame: FrameView) -> tuple[list[Evidence], bool]:
    found, read = [], False
    for metric in _looked_at(_SCALARS, frame):
        value = reading.scalar(frame, metric)
        if value is None:
            continue
        read = True
        if value - value != 0:
            found.append(_evidence(metric, None, frame.step, value))
    return found, read


def _looked_at(metrics: tuple[str, ...], frame: FrameView) -> tuple[str, ...]:
    overflow, scale = (reading.scalar(frame, metric) for metric in _PRECISION)
    if not overflow or scale is None or scale < 1:
        return metrics
    # the step was left out, and the next has a smaller scale: what overflowed is the scaled gradient
    return tuple(metric for metric in metrics if metric not in _GRADIENTS)


def _broken_layers(frame: FrameView, context: RunContext) -> tuple[tuple[str, ...], str, list[Evidence], bool]:
    """Names of the broken layers of the metric nearest to the cause, what they are, and the first of each metric."""
    named: tuple[str, ...] = ()
    origin, evidence, read = "", [], False
    for metric in _looked_at(_VECTORS, frame):
        values = reading.vector(frame, metric, context)
        if values is None:
            continue
        read = True
        mask = reading.broken(values)
        if not mask.any():
            continue
        axis = reading.names_of(metric, context)
        where = np.flatnonzero(mask)
        evidence.append(_evidence(metric, axis[where[0]], frame.step, float(values[where[0]])))
        if not named:
            named, origin = tuple(axis[i] for i in where[: reading.MAX_NAMES]), metric
    return named, origin, evidence, read


def _evidence(metric: str, name: str | None, step: int, value: float) -> Evidence:
    of = f" of {name}" if name else ""
    word = "NaN" if value != value else "infinite"
    return Evidence(
        metric=metric, name=name, step=step, value=value, threshold=None, text=f"{metric}{of} was {word} at step {step}"
    )


def _summary(memory: NonFiniteMemory, evidence: list[Evidence]) -> str:
    what = ", ".join(dict.fromkeys(item.metric for item in evidence))
    where = (
        f" The first layer to show it, in order of depth, is the {_NOUNS[memory.origin]} {memory.names[0]}."
        if memory.names
        else " No layer was measured at that step, so none can be named yet."
    )
    return f"Since step {memory.onset_step} the training computes with NaN or infinity ({what}).{where}"
