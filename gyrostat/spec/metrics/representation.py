"""What the features hold."""

from gyrostat.spec.metrics.base import VALIDATION, Metric

METRICS = (
    Metric(name="representation.alignment", unit="1", axis="run", stage=VALIDATION, log=True,
           description="Mean ‖z − z′‖² of two views of a held-out sample, embeddings on the unit sphere, eval mode; "
                       "0 is perfect.",
           source="Wang and Isola 2020, arXiv 2005.10242, section 4.1"),
    Metric(name="representation.uniformity", unit="1", axis="run", stage=VALIDATION,
           description="log of the mean of exp(−2‖z − z′‖²) over pairs of held-out samples of one batch, embeddings on "
                       "the unit sphere, eval mode; lower is more even.",
           source="Wang and Isola 2020, arXiv 2005.10242, section 4.1"),
    Metric(name="representation.linear_probe_accuracy", unit="1", axis="run", stage=VALIDATION,
           description="Held-out accuracy of a ridge classifier, solved exactly on the frozen features (before the "
                       "projection head) of at most 1024 training samples; at most 1024 held-out ones, eval mode.",
           source="Alain and Bengio 2016, arXiv 1610.01644"),
    Metric(name="representation.initial_probe_accuracy", unit="1", axis="run", stage=VALIDATION,
           description="As representation.linear_probe_accuracy, of the features as they were before the first step: "
                       "what random features give."),
)  # fmt: skip
