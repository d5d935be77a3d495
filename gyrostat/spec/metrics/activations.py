"""What modules put out."""

from gyrostat.spec.metrics.base import FORWARD, Metric

METRICS = (
    Metric(name="activation.mean", unit="1", axis="module", stage=FORWARD,
           description="Mean over all elements of the module's output in the step's forward passes."),
    Metric(name="activation.rms", unit="1", axis="module", stage=FORWARD, log=True,
           description="Root mean square over all elements of the module's output."),
    Metric(name="activation.max_abs", unit="1", axis="module", stage=FORWARD, log=True,
           description="Largest magnitude of the module's output."),
    Metric(name="activation.zero_fraction", unit="1", axis="module", stage=FORWARD,
           description="Share of exact zeros in the module's output."),
)  # fmt: skip
