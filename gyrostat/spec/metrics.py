"""The catalogue of metrics that Gyrostat itself measures: one stated meaning for each name."""

from dataclasses import dataclass
from typing import Literal

MetricAxis = Literal["run", "module", "parameter", "matrix", "head", "rank"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric's meaning.

    Attributes:
        unit: "1" for pure numbers.
        axis: what its values are indexed by.
        description: what, at which stage of the step, over what.
        log: whether its values span orders of magnitude, so that charts use a logarithmic scale.
        source: definition, where one is needed.
    """

    name: str
    unit: str
    axis: MetricAxis
    description: str
    log: bool = False
    source: str = ""


_ALL = (
    Metric(name="loss.train", unit="1", axis="run", log=True,
           description="Training loss of the step's whole batch, before the update, mean over samples: with "
                       "label smoothing, penalties and teacher, where there are any. Of adversarial training: energy "
                       "distance of data and samples, √(2·E‖x − y‖ − E‖x − x′‖ − E‖y − y′‖), mean over micro-batches."),
    Metric(name="loss.validation", unit="1", axis="run", log=True,
           description="Mean loss over the held-out data, eval mode, after the step: the plain loss, "
                       "without label smoothing, penalties or teacher. Of adversarial training: the energy distance of "
                       "at most 1024 held-out samples and as many of the generator's."),
    Metric(name="accuracy.train", unit="1", axis="run",
           description="Share of the step's batch (or tokens, or pixels) classified rightly, before the update."),
    Metric(name="accuracy.validation", unit="1", axis="run",
           description="Share of the held-out data (or tokens, or pixels) classified rightly, eval mode."),
    Metric(name="accuracy.worst_class_recall", unit="1", axis="run",
           description="Smallest share, over the classes that the held-out data has, of a class's samples that is "
                       "classified rightly, eval mode."),
    Metric(name="calibration.expected_error", unit="1", axis="run",
           description="Σ_b (n_b/n)·|accuracy − mean confidence| over 15 equally wide bins of confidence (the largest "
                       "probability), all held-out data together, eval mode.",
           source="Guo et al. 2017, arXiv 1706.04599, eq. 3"),
    Metric(name="generalization.input_gradient_norm", unit="1", axis="run", log=True,
           description="Mean over the first held-out batch (at most 256 samples) of ‖∇ₓ loss‖₂, x one standardized "
                       "sample, of the loss that loss.validation is the mean of; eval mode.",
           source="In the manner of Zhang et al. 2017, arXiv 1710.09412, figure 2"),
    Metric(name="mean_iou.train", unit="1", axis="run",
           description="Intersection over union of true and predicted regions, mean over classes, of each micro-batch, "
                       "averaged over the step's; before the update."),
    Metric(name="mean_iou.validation", unit="1", axis="run",
           description="Intersection over union of true and predicted regions, mean over the classes that the held-out "
                       "data has or that are predicted; all its pixels together, eval mode.",
           source="Everingham et al. 2010, International Journal of Computer Vision 88"),
    Metric(name="representation.alignment", unit="1", axis="run", log=True,
           description="Mean ‖z − z′‖² of two views of a held-out sample, embeddings on the unit sphere, eval mode; "
                       "0 is perfect.",
           source="Wang and Isola 2020, arXiv 2005.10242, section 4.1"),
    Metric(name="representation.uniformity", unit="1", axis="run",
           description="log of the mean of exp(−2‖z − z′‖²) over pairs of held-out samples of one batch, embeddings on "
                       "the unit sphere, eval mode; lower is more even.",
           source="Wang and Isola 2020, arXiv 2005.10242, section 4.1"),
    Metric(name="representation.linear_probe_accuracy", unit="1", axis="run",
           description="Held-out accuracy of a ridge classifier, solved exactly on the frozen features (before the "
                       "projection head) of at most 1024 training samples; at most 1024 held-out ones, eval mode.",
           source="Alain and Bengio 2016, arXiv 1610.01644"),
    Metric(name="representation.initial_probe_accuracy", unit="1", axis="run",
           description="As representation.linear_probe_accuracy, of the features as they were before the first step: "
                       "what random features give."),
    Metric(name="reconstruction.train", unit="1", axis="run", log=True,
           description="½·‖x − x̂‖² of the step's batch, sum over a sample's values, mean over samples."),
    Metric(name="reconstruction.validation", unit="1", axis="run", log=True,
           description="½·‖x − x̂‖² of the held-out data, sum over a sample's values, mean over samples, eval mode."),
    Metric(name="kl.train", unit="nat", axis="run", log=True,
           description="KL(q(z|x) ‖ N(0, I)) of the step's batch, without its weight β, mean over samples.",
           source="Kingma and Welling 2013, arXiv 1312.6114, appendix B"),
    Metric(name="kl.validation", unit="nat", axis="run", log=True,
           description="KL(q(z|x) ‖ N(0, I)) of the held-out data, without its weight β, mean over samples, eval mode.",
           source="Kingma and Welling 2013, arXiv 1312.6114, appendix B"),
    Metric(name="gan.critic", unit="1", axis="run",
           description="Loss of the critic on the step's batch, before the update, without a gradient penalty."),
    Metric(name="gan.generator", unit="1", axis="run",
           description="Loss of the generator on the step's batch, before the update; at the steps that it moves at."),
    Metric(name="gan.wasserstein", unit="1", axis="run",
           description="Mean score of the step's data less that of the samples, before the update: K times an estimate "
                       "from below of the Wasserstein distance where the critic's slope is at most K.",
           source="Arjovsky, Chintala and Bottou 2017, arXiv 1701.07875, eq. 3"),
    Metric(name="gan.lipschitz", unit="1", axis="run", log=True,
           description="Largest ‖∂D(x)/∂x‖₂ of the critic over points between held-out data and samples, one each, "
                       "eval mode: its Lipschitz constant, from below.",
           source="Gulrajani et al. 2017, arXiv 1704.00028, proposition 1"),
    Metric(name="gan.modes", unit="1", axis="run",
           description="Classes of the training data that have a sample within three standard deviations of their "
                       "mean, of as many samples as the validation draws; of points only.",
           source="Srivastava et al. 2017, arXiv 1705.07761, section 4.1"),
    Metric(name="data.mix_lambda", unit="1", axis="run",
           description="λ: what the samples of the step's batch kept of themselves in mixup or CutMix; 1 where the "
                       "batch was not mixed.",
           source="Zhang et al. 2017, arXiv 1710.09412; Yun et al. 2019, arXiv 1905.04899"),
    Metric(name="data.pool_fraction", unit="1", axis="run",
           description="Part of the training data, easiest first, that the curriculum lets the step draw from.",
           source="Platanios et al. 2019, arXiv 1903.09848"),
    Metric(name="sequence_accuracy.train", unit="1", axis="run",
           description="Share of the step's sequences whose every token is the likeliest after the true ones before "
                       "it, before the update."),
    Metric(name="sequence_accuracy.validation", unit="1", axis="run",
           description="Share of the held-out sequences whose every token is the likeliest after the true ones before "
                       "it, eval mode: just those that greedy decoding makes rightly from their source alone."),
    Metric(name="optimizer.learning_rate", unit="1", axis="run", log=True,
           description="Rate that the step used, schedule and live factor included."),
    Metric(name="gradient.norm", unit="1", axis="parameter", log=True,
           description="‖g‖₂ of each parameter: unscaled, after all micro-batches, before clipping."),
    Metric(name="gradient.global_norm", unit="1", axis="run", log=True,
           description="√Σ‖g‖² over all parameters: unscaled, after all micro-batches, before clipping."),
    Metric(name="gradient.clipped_norm", unit="1", axis="run", log=True,
           description="√Σ‖g‖² over all parameters, after clipping; only where the spec clips."),
    Metric(name="gradient.clip_factor", unit="1", axis="run",
           description="‖g‖₂ after clipping over that before: 1 where nothing was clipped; only where the run clips."),
    Metric(name="weight.norm", unit="1", axis="parameter", log=True,
           description="‖w‖₂ of each parameter, after the step."),
    Metric(name="update.ratio", unit="1", axis="parameter", log=True,
           description="‖w_after − w_before‖₂ / ‖w_before‖₂ of each parameter, as the optimizer really moved it; "
                       "absent where w_before is zero."),
    Metric(name="activation.mean", unit="1", axis="module",
           description="Mean over all elements of the module's output in the step's forward passes."),
    Metric(name="activation.rms", unit="1", axis="module", log=True,
           description="Root mean square over all elements of the module's output."),
    Metric(name="activation.max_abs", unit="1", axis="module", log=True,
           description="Largest magnitude of the module's output."),
    Metric(name="activation.zero_fraction", unit="1", axis="module",
           description="Share of exact zeros in the module's output."),
    Metric(name="attention.entropy", unit="nat", axis="head",
           description="Mean over queries of −Σ p·ln p, p the weights of a query on all keys that it may read; of the "
                       "first few sequences of the step's first micro-batch, before the update. 0: each query "
                       "reads one position; ln n: evenly all of n.",
           source="Zhai et al. 2023, arXiv 2303.06296, section 3"),
    Metric(name="attention.max_logit", unit="1", axis="head",
           description="Largest logit that the head's softmax takes, after scaling, normalization of queries and keys, "
                       "and soft cap; of the same sequences.",
           source="Dehghani et al. 2023, arXiv 2302.05442, section 2"),
    Metric(name="weight.spectral_norm", unit="1", axis="matrix", log=True,
           description="Largest singular value of each weight matrix after the step; of a convolution, of its kernel "
                       "reshaped to out x (in·k·k); of a parametrized weight, as its layer works with it.",
           source="Miyato et al. 2018, arXiv 1802.05957, section 2.1"),
    Metric(name="curvature.sharpness", unit="1", axis="run", log=True,
           description="Largest algebraic eigenvalue of the Hessian of the training loss on the fixed probe batch, "
                       "after the step; dropout off, batch statistics of the probe batch.",
           source="Cohen et al. 2021, arXiv 2103.00065"),
    Metric(name="curvature.preconditioned_sharpness", unit="1", axis="run", log=True,
           description="Largest eigenvalue of P⁻¹ᐟ²HP⁻¹ᐟ²; only for adaptive optimizers. P = diag(√v̂ + ε)·(1 − β₁ᵗ) "
                       "of Adam and AdamW, diag(√s + ε) of RMSprop, diag(√v̂ + ε) of schedule-free AdamW.",
           source="Cohen et al. 2022, arXiv 2207.14484, section 3"),
    Metric(name="curvature.limit", unit="1", axis="run", log=True,
           description="The sharpness (preconditioned, for adaptive optimizers) above which the optimizer is unstable "
                       "on a quadratic, at the step's learning rate; absent for optimizers that have no such limit "
                       "(Lion, Muon) or whose limit the sharpness does not decide.",
           source="Cohen et al. 2021 and 2022"),
    Metric(name="curvature.sharpness_over_limit", unit="1", axis="run", log=True,
           description="Sharpness (preconditioned, for adaptive optimizers) over its limit; 1 is the edge of "
                       "stability."),
    Metric(name="precision.loss_scale", unit="1", axis="run", log=True,
           description="Factor S on the loss that the step's backward pass began with; float16 only.",
           source="Micikevicius et al. 2018, arXiv 1710.03740, section 3.2"),
    Metric(name="precision.overflow", unit="1", axis="run",
           description="1 where the step was left out, since its scaled gradient was not finite; else 0. The step's "
                       "gradient metrics then show what overflowed. Float16 only."),
    Metric(name="rank.parameter_digest_gap", unit="1", axis="rank", log=True,
           description="‖s(θᵣ) − s(θ₀)‖ / ‖s(θ₀)‖ of rank r's weights against rank 0's after the step, s a random "
                       "sketch that keeps distances in expectation; exactly 0 while they are equal.",
           source="Charikar, Chen and Farach-Colton 2002, Count Sketch"),
    Metric(name="rank.gradient_digest_gap", unit="1", axis="rank", log=True,
           description="The same of each rank's gradient: reduced over ranks, unscaled, before clipping.",
           source="Charikar, Chen and Farach-Colton 2002, Count Sketch"),
    Metric(name="throughput.samples_per_second", unit="1/s", axis="run",
           description="Samples trained per second of wall time since the last frame that holds it."),
    Metric(name="throughput.step_seconds", unit="s", axis="run",
           description="Mean wall time of a step since the last frame that holds it."),
    Metric(name="memory.resident_bytes", unit="B", axis="run",
           description="Resident memory of the training process."),
    Metric(name="memory.device_bytes", unit="B", axis="run",
           description="Peak memory allocated on the accelerator since the start; absent on a CPU."),
    Metric(name="probe.overhead", unit="1", axis="run",
           description="Share of wall time spent in probes since the last frame that holds it."),
)  # fmt: skip

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
"""Every metric of the catalogue by its name."""
