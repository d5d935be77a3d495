"""Gradients."""

from gyrostat.spec.metrics.base import CLIPPED, GRADIENT, Metric

METRICS = (
    Metric(name="gradient.norm", unit="1", axis="parameter", stage=GRADIENT, log=True,
           description="‖g‖₂ of each parameter: unscaled, after all micro-batches, before clipping."),
    Metric(name="gradient.global_norm", unit="1", axis="run", stage=GRADIENT, log=True,
           description="√Σ‖g‖² over all parameters: unscaled, after all micro-batches, before clipping."),
    Metric(name="gradient.max_abs", unit="1", axis="parameter", stage=GRADIENT, log=True,
           description="Largest magnitude of an element of each parameter's gradient; NaN where an element is."),
    Metric(name="gradient.nonfinite_count", unit="1", axis="parameter", stage=GRADIENT,
           description="Elements of each parameter's gradient that are infinite or NaN."),
    Metric(name="gradient.zero_fraction", unit="1", axis="parameter", stage=GRADIENT,
           description="Share of exact zeros in each parameter's gradient; what a sparse gradient leaves out is zero."),
    Metric(name="gradient.weight_ratio", unit="1", axis="parameter", stage=GRADIENT, log=True,
           description="‖g‖₂/‖w‖₂ of each parameter, w before the step; absent where w is zero.",
           source="Brock et al. 2021, arXiv 2102.06171, section 4"),
    Metric(name="gradient.direction_change", unit="1", axis="parameter", stage=GRADIENT, log=True,
           description="1 − cos of the angle between each parameter's gradients of two consecutive steps, in the frame "
                       "of the later one: 0 where it keeps its direction, 1 at a right angle, 2 where it turns round. "
                       "Absent where one of the two is zero.",
           source="Schneider, Dangel and Hennig 2021, arXiv 2102.06604, section 2.2, whose angle is of two samples"),
    Metric(name="gradient.depth_slope", unit="nat", axis="run", stage=GRADIENT,
           description="Least-squares slope of ln‖g‖₂ over depth, in nats per layer: the weights of two or more "
                       "dimensions that have a gradient, each at its place 0, 1, 2 ... among the model's. Above 0 the "
                       "gradient shrinks on its way back to the input, below 0 it grows. Norms of 0 and such that are "
                       "not finite do not take part; absent where fewer than two are left.",
           source="In the manner of Glorot and Bengio 2010, section 4.2"),
    Metric(name="gradient.clipped_norm", unit="1", axis="run", stage=CLIPPED, log=True,
           description="√Σ‖g‖² over all parameters, after clipping; only where the spec clips."),
    Metric(name="gradient.clip_factor", unit="1", axis="run", stage=CLIPPED,
           description="‖g‖₂ after clipping over that before: 1 where nothing was clipped; only where the run clips."),
)  # fmt: skip
