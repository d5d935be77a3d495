"""How what was learnt carries over to held-out data."""

from gyrostat.spec.metrics.base import VALIDATION, Metric

METRICS = (
    Metric(name="calibration.expected_error", unit="1", axis="run", stage=VALIDATION,
           description="Σ_b (n_b/n)·|accuracy − mean confidence| over 15 equally wide bins of confidence (the largest "
                       "probability), all held-out data together, eval mode.",
           source="Guo et al. 2017, arXiv 1706.04599, eq. 3"),
    Metric(name="generalization.input_gradient_norm", unit="1", axis="run", stage=VALIDATION, log=True,
           description="Mean over the first held-out batch (at most 256 samples) of ‖∇ₓ loss‖₂, x one standardized "
                       "sample, of the loss that loss.validation is the mean of; eval mode.",
           source="In the manner of Zhang et al. 2017, arXiv 1710.09412, figure 2"),
)  # fmt: skip
