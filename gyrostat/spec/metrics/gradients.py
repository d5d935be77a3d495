"""Gradients."""

from gyrostat.spec.metrics.base import CLIPPED, GRADIENT, PARTS, Metric

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
           description="Share of exact zeros in each parameter's gradient; what a sparse gradient leaves out is zero. "
                       "Of a gradient of more than 32,768 elements, on a CPU without a C compiler: of about 8,192 of "
                       "them, evenly spread."),
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
    Metric(name="gradient.signal_to_noise", unit="1", axis="parameter", stage=PARTS, log=True,
           description="‖μ‖²·B/tr Σ of each parameter: the squared length of its true gradient over the variance that "
                       "the mean over the batch's B samples has, both as unbiased estimates from one step. Below 1 "
                       "noise is most of the gradient; near 0 an estimate may be negative. Absent where the parts do "
                       "not differ.",
           source="McCandlish et al. 2018, arXiv 1812.06162, appendix A.1, of one parameter"),
    Metric(name="gradient.noise_scale", unit="1", axis="run", stage=PARTS, log=True,
           description="B_simple = tr Σ/‖μ‖² in samples, of all parameters together: a batch much smaller than this "
                       "is mostly noise, one much larger gains little. The ratio of exponential averages of both "
                       "parts over the measurements; absent while that of ‖μ‖² is not positive.",
           source="McCandlish et al. 2018, arXiv 1812.06162, eq. 2.9 and appendix A.1"),
    Metric(name="gradient.noise_trace", unit="1", axis="run", stage=PARTS, log=True,
           description="tr Σ, the summed variances of one sample's gradient: unbiased, of this step alone. Of b_i "
                       "samples each that differ, (s − ‖G‖²)/(k/Σb_i − 1/B) with s = Σ b_i‖g_i‖²/Σb_i over the k parts "
                       "seen, and G the gradient of all B.",
           source="McCandlish et al. 2018, arXiv 1812.06162, appendix A.1"),
    Metric(name="gradient.signal", unit="1", axis="run", stage=PARTS, log=True,
           description="‖μ‖², the squared length of the true gradient: ‖G‖² − tr Σ/B, unbiased, of this step alone; "
                       "negative where noise hides it.",
           source="McCandlish et al. 2018, arXiv 1812.06162, appendix A.1"),
    Metric(name="gradient.clipped_norm", unit="1", axis="run", stage=CLIPPED, log=True,
           description="√Σ‖g‖² over all parameters, after clipping; only where the spec clips."),
    Metric(name="gradient.clip_factor", unit="1", axis="run", stage=CLIPPED,
           description="‖g‖₂ after clipping over that before: 1 where nothing was clipped; only where the run clips."),
    Metric(name="gradient.clipped_fraction", unit="1", axis="run", stage=CLIPPED,
           description="Share of the gradient's elements in what clipping scaled down: by norm 0 or 1, so that its "
                       "mean over steps is the share of steps that were clipped; by value the elements beyond the "
                       "limit; adaptive those of the units beyond their bound. NaN is beyond nothing. Only where the "
                       "run clips."),
)  # fmt: skip
