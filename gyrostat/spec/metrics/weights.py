"""Weights."""

from gyrostat.spec.metrics.base import UPDATED, Metric

METRICS = (
    Metric(name="weight.norm", unit="1", axis="parameter", stage=UPDATED, log=True,
           description="‖w‖₂ of each parameter, after the step."),
    Metric(name="weight.spectral_norm", unit="1", axis="matrix", stage=UPDATED, log=True,
           description="Largest singular value of each weight matrix after the step; of a convolution, of its kernel "
                       "reshaped to out x (in·k·k); of a parametrized weight, as its layer works with it.",
           source="Miyato et al. 2018, arXiv 1802.05957, section 2.1"),
)  # fmt: skip
