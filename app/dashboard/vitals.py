"""The newest numbers of a run, in the order in which a person asks for them."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from app.dashboard import formats
from gyrostat.spec.metrics import METRICS


class Newest(NamedTuple):
    """A scalar's newest value."""

    step: int
    value: float


class Vital(NamedTuple):
    """One number with its name, what stands below it, and whether it is alarming."""

    key: str
    label: str
    value: str
    sub: str
    hint: str
    tone: str = "neutral"


def vitals(newest: Mapping[str, Newest], *, step: int, budget: float | None = None) -> list[Vital]:
    """The vital numbers that exist; losses always, so that the row does not jump when they arrive.

    Args:
        newest: metric -> its newest value; absent values are left out.
        step: the run's newest step, against which the age of a value is told.
        budget: share of training time that the probes may take.
    """
    found = [
        _plain(newest, "loss.train", "Training loss", step, always=True),
        _plain(newest, "loss.validation", "Validation loss", step, always=True),
        _accuracy(newest, step),
        _plain(newest, "optimizer.learning_rate", "Learning rate", step),
        _plain(newest, "gradient.global_norm", "Gradient norm", step),
        _sharpness(newest),
        _throughput(newest),
        _memory(newest),
        _overhead(newest, budget),
    ]
    return [vital for vital in found if vital is not None]


def _plain(newest: Mapping[str, Newest], metric: str, label: str, step: int, always: bool = False) -> Vital | None:
    key, hint = _key(metric), METRICS[metric].description
    if metric not in newest:
        return Vital(key, label, "–", "not yet", hint) if always else None
    at, value = newest[metric]
    return Vital(key, label, formats.number(value), _at(at, step), hint, _tone(value))


def _accuracy(newest: Mapping[str, Newest], step: int) -> Vital | None:
    for metric, label in (("accuracy.validation", "Accuracy"), ("accuracy.train", "Training accuracy")):
        if metric in newest:
            at, value = newest[metric]
            other = newest.get("accuracy.train") if metric == "accuracy.validation" else None
            sub = f"train {formats.percent(other.value)}" if other else _at(at, step)
            return Vital("accuracy", label, formats.percent(value), sub, METRICS[metric].description, _tone(value))
    return None


def _sharpness(newest: Mapping[str, Newest]) -> Vital | None:
    metric = "curvature.sharpness_over_limit"
    measured = newest.get("curvature.preconditioned_sharpness") or newest.get("curvature.sharpness")
    if metric not in newest:
        if measured is None:
            return None
        value, hint = measured.value, METRICS["curvature.sharpness"].description
        return Vital("sharpness", "Sharpness", formats.number(value), "", hint, _tone(value))
    ratio = newest[metric].value
    sub = f"sharpness {formats.number(measured.value, 3)}" if measured else ""
    tone = "warning" if ratio > 1 else _tone(ratio)
    return Vital("sharpness", "Sharpness / limit", formats.number(ratio, 3), sub, METRICS[metric].description, tone)


def _throughput(newest: Mapping[str, Newest]) -> Vital | None:
    metric = "throughput.samples_per_second"
    if metric not in newest:
        return None
    seconds = newest.get("throughput.step_seconds")
    sub = f"{formats.number(1000 * seconds.value, 3)} ms a step" if seconds else ""
    return Vital("throughput", "Samples/s", formats.compact(newest[metric].value), sub, METRICS[metric].description)


def _memory(newest: Mapping[str, Newest]) -> Vital | None:
    device, resident = newest.get("memory.device_bytes"), newest.get("memory.resident_bytes")
    if device is None and resident is None:
        return None
    metric = "memory.resident_bytes" if device is None else "memory.device_bytes"
    label = "Memory" if device is None else "Device memory"
    sub = f"host {formats.size(resident.value)}" if device is not None and resident is not None else "resident"
    return Vital("memory", label, formats.size(newest[metric].value), sub, METRICS[metric].description)


def _overhead(newest: Mapping[str, Newest], budget: float | None) -> Vital | None:
    metric = "probe.total_overhead"  # of the whole run: over the few steps of a report the share swings
    if metric not in newest:
        return None
    value = newest[metric].value
    sub = "of the training's time" if budget is None else f"budget {formats.percent(budget)}"
    tone = "neutral"
    if budget is not None:
        # the first second is given beside the budget; alarming is only what is well beyond both
        seconds = newest["progress.seconds"].value if "progress.seconds" in newest else math.inf
        tone = "warning" if value > 2 * budget + 1 / max(seconds, 1.0) else "neutral"
        if value > budget and tone == "neutral":
            sub += " + 1 s"
    return Vital("overhead", "Probe overhead", formats.percent(value), sub, METRICS[metric].description, tone)


def _tone(value: float) -> str:
    return "neutral" if math.isfinite(value) else "critical"


def _at(at: int, step: int) -> str:
    return "" if at == step else f"at step {formats.count(at)}"


def _key(metric: str) -> str:
    return metric.replace(".", "-").replace("_", "-")
