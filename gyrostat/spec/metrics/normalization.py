"""Layers that normalize by the batch in training, and by running statistics in eval."""

from gyrostat.spec.metrics.base import FORWARD, LANDSCAPE, Metric

METRICS = (
    Metric(name="normalization.statistic_gap", unit="nat", axis="module", stage=FORWARD, log=True,
           description="Of each batch normalization: mean over its channels of the symmetric divergence KL(B‖R) + "
                       "KL(R‖B) of normal distributions with the batch's mean and variance and with the running ones "
                       "of before the step, ε added to both variances. Batch statistics are those that the running "
                       "ones moved by in the step, of several batches in their weights, of all ranks where the layer "
                       "is synchronized; variances are unbiased, as running ones are. Absent where they did not move.",
           source="Jeffreys 1946, Proc. R. Soc. A 186, eq. 1; for the gap Ioffe 2017, arXiv 1702.03275, section 3"),
    Metric(name="normalization.mean_gap", unit="1", axis="module", stage=FORWARD, log=True,
           description="Root of the mean over channels of d² = ((μ_B − μ_R)/σ_R)², of the same statistics; batch "
                       "renormalization bounds |d| by 5.",
           source="Ioffe 2017, arXiv 1702.03275, section 3"),
    Metric(name="normalization.scale_gap", unit="1", axis="module", stage=FORWARD, log=True,
           description="Root of the mean over channels of (ln r)², r = σ_B/σ_R, of the same statistics; batch "
                       "renormalization bounds r by 3.",
           source="Ioffe 2017, arXiv 1702.03275, section 3"),
    Metric(name="normalization.output_gap", unit="1", axis="run", stage=LANDSCAPE, log=True,
           description="‖y_eval − y_train‖₂ / ‖y_train‖₂ of the model's outputs on the probe batch, dropout off in "
                       "both: what batch normalization makes of its running statistics in place of the batch's. Absent "
                       "without batch normalization that keeps running statistics, and where the model itself is not "
                       "called."),
    Metric(name="normalization.loss_gap", unit="1", axis="run", stage=LANDSCAPE,
           description="(L_eval − L_train) / |L_train| of the training loss on the probe batch in the same two passes.",
           source="In the manner of Ben Braiek and Khomh 2023, arXiv 2204.00694 (TheDeepChecker)"),
)  # fmt: skip
