"""Curvature of the training loss."""

from gyrostat.spec.metrics.base import LANDSCAPE, Metric

METRICS = (
    Metric(name="curvature.sharpness", unit="1", axis="run", stage=LANDSCAPE, log=True,
           description="Largest algebraic eigenvalue of the Hessian of the training loss on the fixed probe batch, "
                       "after the step; dropout off, batch statistics of the probe batch.",
           source="Cohen et al. 2021, arXiv 2103.00065"),
    Metric(name="curvature.sharpness_error", unit="1", axis="run", stage=LANDSCAPE, log=True,
           description="‖Hy − θy‖/θ of the sharpness θ and its vector y: so near, relative to it, an eigenvalue is "
                       "for certain. θ never exceeds the largest one.",
           source="Parlett 1998, The Symmetric Eigenvalue Problem, section 4.5"),
    Metric(name="curvature.eigenvalue", unit="1", axis="eigenvalue", stage=LANDSCAPE, log=True,
           description="The largest algebraic eigenvalues of the same Hessian, falling, the first of which is the "
                       "sharpness; only with `eigenvalues` 2 or more, which says how many. None exceeds its own.",
           source="Parlett 1998, The Symmetric Eigenvalue Problem, chapter 11"),
    Metric(name="curvature.eigenvalue_error", unit="1", axis="eigenvalue", stage=LANDSCAPE, log=True,
           description="‖Hy − θy‖/|θ| of each `curvature.eigenvalue` θ and its vector y: so near, relative to it, an "
                       "eigenvalue is for certain; above `tolerance` where the products were used up before.",
           source="Parlett 1998, The Symmetric Eigenvalue Problem, section 4.5"),
    Metric(name="curvature.preconditioned_sharpness", unit="1", axis="run", stage=LANDSCAPE, log=True,
           description="Largest eigenvalue of P⁻¹ᐟ²HP⁻¹ᐟ²; only for adaptive optimizers. P = diag(√v̂ + ε)·(1 − β₁ᵗ) "
                       "of Adam and AdamW, diag(√s + ε) of RMSprop, diag(√v̂ + ε) of schedule-free AdamW.",
           source="Cohen et al. 2022, arXiv 2207.14484, section 3"),
    Metric(name="curvature.limit", unit="1", axis="run", stage=LANDSCAPE, log=True,
           description="The sharpness (preconditioned, for adaptive optimizers) above which the optimizer is unstable "
                       "on a quadratic, at the step's learning rate; absent for optimizers that have no such limit "
                       "(Lion and Muon, whose path on a quadratic is the same at every curvature) or whose limit the "
                       "sharpness does not decide.",
           source="Cohen et al. 2021 and 2022"),
    Metric(name="curvature.sharpness_over_limit", unit="1", axis="run", stage=LANDSCAPE, log=True,
           description="Sharpness (preconditioned, for adaptive optimizers) over its limit; 1 is the edge of "
                       "stability."),
    Metric(name="curvature.along_gradient", unit="1", axis="run", stage=LANDSCAPE,
           description="gᵀHg/gᵀg, the curvature of the loss on the fixed probe batch along its own gradient g; absent "
                       "where g is 0.",
           source="Jastrzębski et al. 2019, arXiv 1807.05031"),
    Metric(name="curvature.trace", unit="1", axis="run", stage=LANDSCAPE,
           description="Unbiased estimate of the trace of the same Hessian: exact on the directions that the sharpness "
                       "was looked for in, by Hutchinson's random signs on the rest.",
           source="Meyer et al. 2021, arXiv 2010.09649, algorithm 1"),
    Metric(name="curvature.trace_error", unit="1", axis="run", stage=LANDSCAPE, log=True,
           description="Standard error of `curvature.trace` over the random signs, from the same products and those "
                       "of the last measurements, stretched by Student's t: 1.96 times it holds at least 95 %.",
           source="Avron and Toledo 2011, J. ACM 58(2), on the variance of Hutchinson's estimate"),
    Metric(name="curvature.block_trace", unit="1", axis="parameter", stage=LANDSCAPE,
           description="Unbiased estimate of the trace of the Hessian's diagonal block of each trainable parameter, "
                       "from the products of `curvature.trace`, to which they add up.",
           source="Meyer et al. 2021, arXiv 2010.09649, algorithm 1"),
    Metric(name="curvature.block_trace_error", unit="1", axis="parameter", stage=LANDSCAPE, log=True,
           description="Upper bound of the standard error of `curvature.block_trace`, estimated and stretched like "
                       "`curvature.trace_error`; before the stretch at most √2 times it, in expectation.",
           source="Avron and Toledo 2011, J. ACM 58(2), on the variance of Hutchinson's estimate"),
    Metric(name="curvature.block_sharpness", unit="1", axis="parameter", stage=LANDSCAPE, log=True,
           description="Largest algebraic eigenvalue of the diagonal block of the same Hessian that belongs to the "
                       "parameter; a few parameters a frame, all in turn, the others absent.",
           source="Sagun et al. 2018, arXiv 1706.04454, on Hessians of networks and their blocks"),
    Metric(name="curvature.sam_sharpness", unit="1", axis="run", stage=LANDSCAPE,
           description="L(θ + ρ·g/‖g‖) − L(θ) of the loss on the fixed probe batch and its gradient g, ρ a setting.",
           source="Foret et al. 2020, arXiv 2010.01412, eq. 1 and 2"),
    Metric(name="curvature.loss_range", unit="1", axis="run", stage=LANDSCAPE, log=True,
           description="Largest less smallest loss on the fixed probe batch at θ and at θ − s·g/‖g‖, s being 1/2, 1, 2 "
                       "and 4 times the length of the optimizer's step.",
           source="Santurkar et al. 2018, arXiv 1805.11604, figure 4a"),
    Metric(name="curvature.gradient_change", unit="1", axis="run", stage=LANDSCAPE, log=True,
           description="Largest ‖g(θ − s·g/‖g‖) − g(θ)‖/‖g(θ)‖ over the same s: 0 where the gradient foretells the "
                       "step exactly.",
           source="Santurkar et al. 2018, arXiv 1805.11604, figure 4b, there not over ‖g‖"),
    Metric(name="curvature.effective_smoothness", unit="1", axis="run", stage=LANDSCAPE, log=True,
           description="Largest ‖g(θ − s·g/‖g‖) − g(θ)‖/s over the same s; on a quadratic at most the largest "
                       "magnitude of an eigenvalue of the Hessian.",
           source="Santurkar et al. 2018, arXiv 1805.11604, figure 4c"),
    Metric(name="curvature.effective_smoothness_over_limit", unit="1", axis="run", stage=LANDSCAPE, log=True,
           description="The same over `curvature.limit`; absent for adaptive optimizers, whose limit is one of the "
                       "preconditioned Hessian.",
           source="Santurkar et al. 2018, arXiv 1805.11604, figure 4c"),
)  # fmt: skip
