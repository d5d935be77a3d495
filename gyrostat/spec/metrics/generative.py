"""Tasks that make samples."""

from gyrostat.spec.metrics.base import BATCH, VALIDATION, Metric

METRICS = (
    Metric(name="reconstruction.train", unit="1", axis="run", stage=BATCH, log=True,
           description="½·‖x − x̂‖² of the step's batch, sum over a sample's values, mean over samples."),
    Metric(name="reconstruction.validation", unit="1", axis="run", stage=VALIDATION, log=True,
           description="½·‖x − x̂‖² of the held-out data, sum over a sample's values, mean over samples, eval mode."),
    Metric(name="kl.train", unit="nat", axis="run", stage=BATCH, log=True,
           description="KL(q(z|x) ‖ N(0, I)) of the step's batch, without its weight β, mean over samples.",
           source="Kingma and Welling 2013, arXiv 1312.6114, appendix B"),
    Metric(name="kl.validation", unit="nat", axis="run", stage=VALIDATION, log=True,
           description="KL(q(z|x) ‖ N(0, I)) of the held-out data, without its weight β, mean over samples, eval mode.",
           source="Kingma and Welling 2013, arXiv 1312.6114, appendix B"),
    Metric(name="gan.critic", unit="1", axis="run", stage=BATCH,
           description="Loss of the critic on the step's batch, before the update, without a gradient penalty."),
    Metric(name="gan.generator", unit="1", axis="run", stage=BATCH,
           description="Loss of the generator on the step's batch, before the update; at the steps that it moves at."),
    Metric(name="gan.wasserstein", unit="1", axis="run", stage=BATCH,
           description="Mean score of the step's data less that of the samples, before the update: K times an estimate "
                       "from below of the Wasserstein distance where the critic's slope is at most K.",
           source="Arjovsky, Chintala and Bottou 2017, arXiv 1701.07875, eq. 3"),
    Metric(name="gan.lipschitz", unit="1", axis="run", stage=VALIDATION, log=True,
           description="Largest ‖∂D(x)/∂x‖₂ of the critic over points between held-out data and samples, one each, "
                       "eval mode: its Lipschitz constant, from below.",
           source="Gulrajani et al. 2017, arXiv 1704.00028, proposition 1"),
    Metric(name="gan.modes", unit="1", axis="run", stage=VALIDATION,
           description="Classes of the training data that have a sample within three standard deviations of their "
                       "mean, of as many samples as the validation draws; of points only.",
           source="Srivastava et al. 2017, arXiv 1705.07761, section 4.1"),
)  # fmt: skip
