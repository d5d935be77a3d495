"""What the features hold."""

from gyrostat.spec.metrics.base import FEATURES, VALIDATION, Metric

METRICS = (
    Metric(name="representation.cka_previous", unit="1", axis="module", stage=FEATURES,
           description="Linear centered kernel alignment of a module's features, flattened, with those of the module "
                       "called before it, by the unbiased estimate of HSIC; 1 for features that are a rotation and "
                       "scaling of the others, around 0 (below too) for independent ones. Of at most 128 samples and "
                       "8192 features, drawn where there are more; absent where features do not vary.",
           source="Kornblith et al. 2019, arXiv 1905.00414, eq. 3; Nguyen et al. 2020, arXiv 2010.15327, eq. 3"),
    Metric(name="representation.cka_initial", unit="1", axis="module", stage=FEATURES,
           description="As representation.cka_previous, of a module's features with its own on the same samples when "
                       "the run began (a fork: from the weights it took over): 1 for features that training has only "
                       "turned and scaled. Batch norms' running statistics are those of the moment.",
           source="Kornblith et al. 2019, arXiv 1905.00414, eq. 3"),
    Metric(name="representation.probe_accuracy", unit="1", axis="module", stage=FEATURES,
           description="Share of every second sample of the probe batch that a ridge classifier on the module's "
                       "features, solved exactly on the other half, classifies rightly; its standard error is "
                       "√(p(1 − p)/m) of m samples tried. Only where targets are class numbers, at least four samples "
                       "a class.",
           source="Alain and Bengio 2016, arXiv 1610.01644"),
    Metric(name="representation.frequency_centroid", unit="1", axis="module", stage=FEATURES,
           description="Mean frequency of feature maps over space, of sequences over time, weighted by energy |F|², "
                       "without frequency 0, in units of Nyquist's, half a cycle a pixel: at most 1 along one axis, √2 "
                       "along two. Absent for modules without maps, and where maps are even.",
           source="In the manner of Rahaman et al. 2019, arXiv 1806.08734"),
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
