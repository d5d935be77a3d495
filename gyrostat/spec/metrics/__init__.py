"""The catalogue of metrics that Gyrostat itself measures: one stated meaning for each name, a file for each family."""

from gyrostat.spec.metrics import (
    activations,
    attention,
    curvature,
    generalization,
    generative,
    gradients,
    kernel,
    lipschitz,
    normalization,
    representation,
    systems,
    training,
    updates,
    weights,
)
from gyrostat.spec.metrics.base import STAGES, Metric, MetricAxis, Stage

__all__ = ["METRICS", "STAGES", "Metric", "MetricAxis", "Stage"]

_FAMILIES = (
    training,
    generalization,
    representation,
    generative,
    gradients,
    updates,
    activations,
    attention,
    normalization,
    weights,
    lipschitz,
    curvature,
    kernel,
    systems,
)
"""In the order of the catalogue."""


def _by_name() -> dict[str, Metric]:
    found: dict[str, Metric] = {}
    for metric in (metric for family in _FAMILIES for metric in family.METRICS):
        if metric.name in found:
            raise TypeError(f"two metrics are named {metric.name!r}")
        found[metric.name] = metric
    return found


METRICS = _by_name()
"""Every metric of the catalogue by its name."""
