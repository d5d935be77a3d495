"""Weights."""

from gyrostat.spec.metrics.base import UPDATED, Metric

METRICS = (
    Metric(name="weight.norm", unit="1", axis="parameter", stage=UPDATED, log=True,
           description="‖w‖₂ of each parameter, after the step."),
    Metric(name="weight.spectral_norm", unit="1", axis="matrix", stage=UPDATED, log=True,
           description="Largest singular value of each weight matrix after the step; of a convolution, of its kernel "
                       "reshaped to out x (in·k·k); of a parametrized weight, as its layer works with it.",
           source="Miyato et al. 2018, arXiv 1802.05957, section 2.1"),
    Metric(name="weight.distance_from_init", unit="1", axis="parameter", stage=UPDATED, log=True,
           description="‖w − w₀‖₂ / ‖w₀‖₂ of each parameter after the step, w₀ its value when the run's probes were "
                       "set up: as drawn, before the first step, also where the run was resumed. Absent where w₀ is "
                       "zero, and where the run goes on from weights that are not followed from its own start, as a "
                       "fork that draws others.",
           source="Nagarajan and Kolter 2019, arXiv 1901.01672"),
)  # fmt: skip
