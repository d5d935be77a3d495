"""Which metric has which reference, and which has none for what reason."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gyrostat.doctor.moment import Moment
from gyrostat.spec.metrics import METRICS

Values = Mapping[str, float] | float | None
"""By name along the metric's axis, a number on axis `run`; None and names that are missing: absent."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """How a metric is formed the slow way.

    Attributes:
        error: relative error that the probe's own estimate may have; 0 where it is exact.
        floor: values are compared relative to at least this share of the largest one along the axis, and to at least
            `least` at all: differences of nearly equal numbers have no relative precision.
    """

    measure: Callable[[Moment], Values]
    error: float = 0.0
    floor: float = 1e-3
    least: float = 1e-12


REFERENCES: dict[str, Reference] = {}

WITHOUT: dict[str, str] = {}
"""Metrics of probes that have no reference here, with the reason."""

WITHOUT["weight.lipschitz_bound"] = (
    "a bound of modules that run one after another, each once, which those of the nets here do not; compared with "
    "products written out in tests/gyrostat/probes/test_lipschitz.py"
)
_OWN_TESTS = "not tried in every mode yet; compared with a float64 reference in {}"
for _file, _metrics in {
    "tests/gyrostat/probes/test_curvature.py and its neighbours": (
        "curvature.sharpness_error", "curvature.second_eigenvalue", "curvature.trace", "curvature.trace_error",
        "curvature.block_trace", "curvature.block_trace_error", "curvature.block_sharpness", "curvature.loss_range",
        "curvature.gradient_change", "curvature.effective_smoothness", "curvature.effective_smoothness_over_limit",
    ),
    "tests/gyrostat/probes/test_activations.py and its neighbours": (
        "activation.saturated_fraction", "activation.dead_fraction", "activation.gradient_rms",
        "activation.branch_to_trunk", "activation.effective_rank", "activation.stable_rank",
    ),
    "the tests of the gradient noise probe": (
        "gradient.signal_to_noise", "gradient.noise_scale", "gradient.noise_trace", "gradient.signal",
    ),
}.items():  # fmt: skip
    WITHOUT.update({_metric: _OWN_TESTS.format(_file) for _metric in _metrics})


def reference(
    metric: str, *, error: float = 0.0, floor: float = 1e-3, least: float = 1e-12
) -> Callable[[Callable[[Moment], Values]], Callable[[Moment], Values]]:
    """Registers a function as the slow way to a metric."""

    def register(measure: Callable[[Moment], Values]) -> Callable[[Moment], Values]:
        if metric not in METRICS or metric in REFERENCES:
            raise TypeError(f"{metric!r} is no metric of the catalogue, or has a reference already")
        REFERENCES[metric] = Reference(measure=measure, error=error, floor=floor, least=least)
        return measure

    return register
