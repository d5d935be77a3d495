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
           description="Training loss of the step's whole batch, before the update, mean over samples."),
    Metric(name="loss.validation", unit="1", axis="run", log=True,
           description="Mean loss over the held-out data, eval mode, after the step."),
    Metric(name="accuracy.train", unit="1", axis="run",
           description="Share of the step's batch (or tokens) classified rightly, before the update."),
    Metric(name="accuracy.validation", unit="1", axis="run",
           description="Share of the held-out data (or tokens) classified rightly, eval mode."),
    Metric(name="optimizer.learning_rate", unit="1", axis="run", log=True,
           description="Rate that the step used, schedule and live factor included."),
    Metric(name="gradient.norm", unit="1", axis="parameter", log=True,
           description="‖g‖₂ of each parameter: unscaled, after all micro-batches, before clipping."),
    Metric(name="gradient.global_norm", unit="1", axis="run", log=True,
           description="√Σ‖g‖² over all parameters: unscaled, after all micro-batches, before clipping."),
    Metric(name="gradient.clipped_norm", unit="1", axis="run", log=True,
           description="√Σ‖g‖² over all parameters, after clipping; only where the spec clips."),
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
    Metric(name="weight.spectral_norm", unit="1", axis="matrix", log=True,
           description="Largest singular value of each weight matrix after the step; of a convolution, of its kernel "
                       "reshaped to out x (in·k·k).",
           source="Miyato et al. 2018, arXiv 1802.05957, section 2.1"),
    Metric(name="curvature.sharpness", unit="1", axis="run", log=True,
           description="Largest algebraic eigenvalue of the Hessian of the training loss on the fixed probe batch, "
                       "after the step; dropout off, batch statistics of the probe batch.",
           source="Cohen et al. 2021, arXiv 2103.00065"),
    Metric(name="curvature.preconditioned_sharpness", unit="1", axis="run", log=True,
           description="Largest eigenvalue of P⁻¹ᐟ²HP⁻¹ᐟ², P = diag(√v̂ + ε)·(1 − β₁ᵗ); only for adaptive optimizers.",
           source="Cohen et al. 2022, arXiv 2207.14484, section 3"),
    Metric(name="curvature.limit", unit="1", axis="run", log=True,
           description="The sharpness (preconditioned, for adaptive optimizers) above which the optimizer is unstable "
                       "on a quadratic, at the step's learning rate.",
           source="Cohen et al. 2021 and 2022"),
    Metric(name="curvature.sharpness_over_limit", unit="1", axis="run", log=True,
           description="Sharpness (preconditioned, for adaptive optimizers) over its limit; 1 is the edge of "
                       "stability."),
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
