"""Synthetic streams of frames with a known onset, of a net of eight layers."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from app.alerts.engine import Engine
from app.alerts.model import AlertChange, FrameView, RunContext
from app.alerts.rules import Rule, effective
from gyrostat.spec.metrics import METRICS
from gyrostat.spec.run import RuleOverride

DEPTH = 8
MODULES = tuple(name for i in range(DEPTH) for name in (f"layers.{i}.linear", f"layers.{i}.activation"))
PARAMETERS = tuple(name for i in range(DEPTH) for name in (f"layers.{i}.linear.weight", f"layers.{i}.linear.bias"))
MATRICES = PARAMETERS[::2]
RANKS = ("rank 0", "rank 1", "rank 2", "rank 3")
AXIS_OF = {metric.name: metric.axis for metric in METRICS.values()}
WIDTHS = {"run": 1, "rank": len(RANKS), "module": len(MODULES), "parameter": len(PARAMETERS), "matrix": len(MATRICES)}

Values = Mapping[str, float | npt.ArrayLike]


def context(spec: Mapping[str, Any] | None = None, **axes: tuple[str, ...]) -> RunContext:
    known = {"module": MODULES, "parameter": PARAMETERS, "matrix": MATRICES, "rank": RANKS, **axes}
    return RunContext(axes=known, axis_of=AXIS_OF, spec=spec)


def frame(step: int, values: Values) -> FrameView:
    """A number for a vector metric fills the vector."""
    arrays = {}
    for metric, value in values.items():
        array = np.asarray(value, dtype=np.float32)
        arrays[metric] = np.full(WIDTHS[AXIS_OF[metric]], array) if array.ndim == 0 else array
    return FrameView(step=step, values=arrays)


def frames(values: Callable[[int], Values], steps: Iterable[int]) -> list[FrameView]:
    return [frame(step, values(step)) for step in steps]


def only(kind: str, **settings: float) -> list[Rule]:
    """The one rule, with settings."""
    return [rule for rule in effective({kind: RuleOverride(settings=settings)}) if rule.kind == kind]


def judge(
    kind: str, stream: Iterable[FrameView], run: RunContext | None = None, **settings: float
) -> list[AlertChange]:
    """What the rule says of the stream."""
    return Engine(only(kind, **settings), run or context(), None).observe(stream)


def healthy(seed: int = 0, noise: float = 0.05) -> Callable[[int], dict[str, Any]]:
    """A training that goes well: the loss falls, gradients with it, a warmup from a rate of zero, a cosine to zero."""
    rng = np.random.default_rng(seed)

    def values(step: int) -> dict[str, Any]:
        scale = 2.3 * np.exp(-step / 80) + 0.05
        jitter = np.exp(noise * rng.standard_normal(len(PARAMETERS)))
        rate = 0.1 * min((step - 1) / 20, 1.0) * (1 + np.cos(np.pi * min(step / 400, 1))) / 2
        found: dict[str, Any] = {
            "loss.train": scale * np.exp(noise * rng.standard_normal()),
            "optimizer.learning_rate": rate,
        }
        if step % 5 == 0:
            found["gradient.norm"] = scale * jitter
            found["gradient.global_norm"] = scale * np.sqrt(np.sum(jitter**2))
        if step % 10 == 0:
            found["activation.zero_fraction"] = np.tile([0.0, 0.55], DEPTH)
            found["activation.rms"] = found["activation.max_abs"] = np.exp(noise * rng.standard_normal(len(MODULES)))
            found["weight.norm"] = jitter
            found["update.ratio"] = 0.02 * rate * jitter
        if step % 50 == 0:
            found["curvature.sharpness_over_limit"] = 0.4 * np.exp(noise * rng.standard_normal())
        return found

    return values
