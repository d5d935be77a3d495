"""Weights."""

from gyrostat.spec.metrics.base import UPDATED, Metric

METRICS = (
    Metric(name="weight.norm", unit="1", axis="parameter", stage=UPDATED, log=True,
           description="‖w‖₂ of each parameter, after the step. Of a float32 parameter of 65,536 elements or more on "
                       "a CPU, where steps in a row are measured, ‖w‖₂² is what it was when all elements were last "
                       "read and what the sample of `update.ratio` gained since: a standard error of 1.1e-4 of ‖w‖₂ or "
                       "less where weights are about normal. All are read at a measured step that follows on one that "
                       "was not, at least once in 16 steps, and where the ways since come to 1 % of ‖w‖₂ or the norm "
                       "is not finite; until then, what changes in a few elements alone may not show."),
    Metric(name="weight.spectral_norm", unit="1", axis="matrix", stage=UPDATED, log=True,
           description="Largest singular value of each weight matrix after the step; of a convolution, of its kernel "
                       "reshaped to out x (in·k·k); of a parametrized weight, as its layer works with it.",
           source="Miyato et al. 2018, arXiv 1802.05957, section 2.1"),
    Metric(name="weight.stable_rank", unit="1", axis="matrix", stage=UPDATED,
           description="‖W‖_F² / σ₁² of the same matrix, with the same σ₁: from 1 to the rank. Absent of zeros.",
           source="Rudelson and Vershynin 2007, arXiv math/0503442, section 1"),
    Metric(name="weight.condition_number", unit="1", axis="matrix", stage=UPDATED, log=True,
           description="σ₁ / σ_min of the same matrix, of its min(m, n) singular values, in float64; ∞ where σ_min is "
                       "no more than rounding, at most max(m, n)·2⁻⁵²·σ₁. Absent of zeros, and of matrices with more "
                       "elements than the probe is set to.",
           source="Golub and Van Loan, Matrix Computations, section 2.6.2"),
    Metric(name="weight.operator_norm", unit="1", axis="matrix", stage=UPDATED, log=True,
           description="Largest singular value of the linear map that the layer makes of its weight, after the step: "
                       "of a convolution, with its own stride, padding, dilation and groups, on images of the size of "
                       "the largest that it was last called with in a measured step; of several that share a kernel, "
                       "the largest. Of a matrix its spectral norm. Absent of a convolution that was not called yet, "
                       "and of other weights with more than two dimensions.",
           source="Gouk et al. 2018, arXiv 1804.04368, section 3; of circular padding Sedghi et al. 2018, arXiv "
                  "1805.10408, theorem 6"),
    Metric(name="weight.lipschitz_bound", unit="1", axis="run", stage=UPDATED,
           description="log₁₀ of the product of the Lipschitz constants of all layers in eval mode: operator norms of "
                       "linear layers and convolutions, max|γ|/√(running variance + ε) of batch normalization, the "
                       "largest slope of each activation. Bounds that of the network where its modules run one after "
                       "another, each once, or tell by `log_lipschitz` how else, as residual and dense blocks here do "
                       "(1 + L of the branch; γ and shortcut included). Absent with attention, layer, group or "
                       "instance normalization, embeddings, highway gates, recurrent layers and parallel paths, for "
                       "which no useful constant is known, and with weights or modules of unknown effect.",
           source="Szegedy et al. 2013, arXiv 1312.6199, section 4.3; Gouk et al. 2018, arXiv 1804.04368, section 3"),
    Metric(name="weight.distance_from_init", unit="1", axis="parameter", stage=UPDATED, log=True,
           description="‖w − w₀‖₂ / ‖w₀‖₂ of each parameter after the step, w₀ its value when the run's probes were "
                       "set up: as drawn, before the first step, also where the run was resumed. Absent where w₀ is "
                       "zero, and where the run goes on from weights that are not followed from its own start, as a "
                       "fork that draws others.",
           source="Nagarajan and Kolter 2019, arXiv 1901.01672"),
)  # fmt: skip
