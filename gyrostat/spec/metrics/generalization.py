"""How what was learnt carries over to held-out data."""

from gyrostat.spec.metrics.base import VALIDATION, Metric

METRICS = (
    Metric(name="generalization.gap", unit="1", axis="run", stage=VALIDATION,
           description="loss.validation minus the same loss of training samples, measured as held-out ones are: plain, "
                       "without augmentation, eval mode, in batches of the training's size. Of 256 training samples "
                       "(or one batch, or no more than held-out ones), the same at every validation.",
           source="Hardt, Recht and Singer 2016, arXiv 1509.01240, section 2"),
    Metric(name="generalization.accuracy_gap", unit="1", axis="run", stage=VALIDATION,
           description="Accuracy on the same training samples, measured in the same way, minus accuracy.validation."),
    Metric(name="generalization.margin_median", unit="1", axis="run", stage=VALIDATION,
           description="Median over the first held-out batch (at most 256 samples) of (z_y − z_j)/‖∇ₓ(z_y − z_j)‖₂, z "
                       "the logits of one standardized sample x, y its class, j the likeliest other: how far, to first "
                       "order, x is from where its class changes; negative where it is wrong. No factor on logits "
                       "changes it.",
           source="Elsayed et al. 2018, arXiv 1803.05598, section 3; Bartlett et al. 2017, arXiv 1706.08498"),
    Metric(name="generalization.margin_p10", unit="1", axis="run", stage=VALIDATION,
           description="10th percentile of the same margins.",
           source="Elsayed et al. 2018, arXiv 1803.05598, section 3"),
    Metric(name="calibration.expected_error", unit="1", axis="run", stage=VALIDATION,
           description="Σ_b (n_b/n)·|accuracy − mean confidence| over 15 equally wide bins of confidence (the largest "
                       "probability), all held-out data together, eval mode.",
           source="Guo et al. 2017, arXiv 1706.04599, eq. 3"),
    Metric(name="generalization.input_gradient_norm", unit="1", axis="run", stage=VALIDATION, log=True,
           description="Mean over the first held-out batch (at most 256 samples) of ‖∇ₓ loss‖₂, x one standardized "
                       "sample, of the loss that loss.validation is the mean of; eval mode.",
           source="In the manner of Zhang et al. 2017, arXiv 1710.09412, figure 2"),
)  # fmt: skip
