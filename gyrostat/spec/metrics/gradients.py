"""Gradients."""

from gyrostat.spec.metrics.base import CLIPPED, GRADIENT, Metric

METRICS = (
    Metric(name="gradient.norm", unit="1", axis="parameter", stage=GRADIENT, log=True,
           description="‖g‖₂ of each parameter: unscaled, after all micro-batches, before clipping."),
    Metric(name="gradient.global_norm", unit="1", axis="run", stage=GRADIENT, log=True,
           description="√Σ‖g‖² over all parameters: unscaled, after all micro-batches, before clipping."),
    Metric(name="gradient.clipped_norm", unit="1", axis="run", stage=CLIPPED, log=True,
           description="√Σ‖g‖² over all parameters, after clipping; only where the spec clips."),
    Metric(name="gradient.clip_factor", unit="1", axis="run", stage=CLIPPED,
           description="‖g‖₂ after clipping over that before: 1 where nothing was clipped; only where the run clips."),
)  # fmt: skip
