"""Curvature of the training loss."""

from gyrostat.spec.metrics.base import LANDSCAPE, Metric

METRICS = (
    Metric(name="curvature.sharpness", unit="1", axis="run", stage=LANDSCAPE, log=True,
           description="Largest algebraic eigenvalue of the Hessian of the training loss on the fixed probe batch, "
                       "after the step; dropout off, batch statistics of the probe batch.",
           source="Cohen et al. 2021, arXiv 2103.00065"),
    Metric(name="curvature.preconditioned_sharpness", unit="1", axis="run", stage=LANDSCAPE, log=True,
           description="Largest eigenvalue of P⁻¹ᐟ²HP⁻¹ᐟ²; only for adaptive optimizers. P = diag(√v̂ + ε)·(1 − β₁ᵗ) "
                       "of Adam and AdamW, diag(√s + ε) of RMSprop, diag(√v̂ + ε) of schedule-free AdamW.",
           source="Cohen et al. 2022, arXiv 2207.14484, section 3"),
    Metric(name="curvature.limit", unit="1", axis="run", stage=LANDSCAPE, log=True,
           description="The sharpness (preconditioned, for adaptive optimizers) above which the optimizer is unstable "
                       "on a quadratic, at the step's learning rate; absent for optimizers that have no such limit "
                       "(Lion, Muon) or whose limit the sharpness does not decide.",
           source="Cohen et al. 2021 and 2022"),
    Metric(name="curvature.sharpness_over_limit", unit="1", axis="run", stage=LANDSCAPE, log=True,
           description="Sharpness (preconditioned, for adaptive optimizers) over its limit; 1 is the edge of "
                       "stability."),
)  # fmt: skip
