"""What modules put out, and the gradients that come back to it.

On a CPU without a C compiler, some quantities of large outputs are those of a sample: `gyrostat.probes.survey`.
"""

from gyrostat.spec.metrics.base import BACKWARD, FORWARD, Metric


def _sampled(error: str) -> str:
    return f" On a CPU without a C compiler, of a sample, as `activation.rms` tells; standard error: {error}."


METRICS = (
    Metric(name="activation.mean", unit="1", axis="module", stage=FORWARD,
           description="Mean over all elements of the module's output in the step's forward passes."
                       + _sampled("1/90 of the elements' standard deviation")),
    Metric(name="activation.rms", unit="1", axis="module", stage=FORWARD, log=True,
           description="Root mean square over all elements of the module's output. On a CPU without a C compiler, of "
                       "an output of more than 32,768 elements: of about n = 8,192 of them, evenly spread, and 16 or "
                       "so of each unit at least. Where these are independent, the standard error is √((k − 1)/4n) of "
                       "the value, k = ⟨x⁴⟩/⟨x²⟩²: 0.8 % of normally distributed ones. A module's first output is read "
                       "as a whole, and so is one that is not finite or whose largest element alone comes to more than "
                       "0.5 % of the last output's Σx² or 10 % of its Σx⁴."),
    Metric(name="activation.max_abs", unit="1", axis="module", stage=FORWARD, log=True,
           description="Largest magnitude of the module's output."),
    Metric(name="activation.zero_fraction", unit="1", axis="module", stage=FORWARD,
           description="Share of exact zeros in the module's output."
                       + _sampled("√(p(1 − p)/n), 0.006 at most")),
    Metric(name="activation.nonfinite_count", unit="1", axis="module", stage=FORWARD,
           description="Elements of the module's output that are NaN or infinite."),
    Metric(name="activation.kurtosis", unit="1", axis="module", stage=FORWARD, log=True,
           description="⟨(x − ⟨x⟩)⁴⟩ / ⟨(x − ⟨x⟩)²⟩² over all elements of the module's output: 3 of a normal "
                       "distribution, 1 at least; the more, the heavier its tails. Absent of an output that "
                       "varies by less than 1/1000 of its root mean square."
                       + _sampled("√(24/n), 0.05, of normally distributed elements"),
           source="Bondarenko et al. 2023, arXiv 2306.12929, section 5: kurtosis as a measure of outliers"),
    Metric(name="activation.saturated_fraction", unit="1", axis="module", stage=FORWARD,
           description="Share of the output of a bounded activation that lies nearer to a bound than 1 % of its range "
                       "(`probes.activations.saturation`): |y| ≥ 0.98 of tanh and softsign, outside of (0.01, 0.99) of "
                       "sigmoid; at a bound of hardtanh and hardsigmoid, at the upper one of ReLU6. Absent of "
                       "others." + _sampled("√(p(1 − p)/n), 0.006 at most"),
           source="Glorot and Bengio 2010, section 3; Rakitianskaia and Engelbrecht 2015, IEEE SSCI"),
    Metric(name="activation.dead_fraction", unit="1", axis="module", stage=FORWARD,
           description="Share of the units (channels of images, features of sequences) whose output was exactly 0 at "
                       "every sample and position of the last 10 measurements (`probes.activations.window`), or of all"
                       " so far where they are fewer. Absent of outputs without units. On a CPU without a C compiler, "
                       "the first time that units are silent is told by the sample (`activation.rms`), where what is "
                       "below 1e-22 counts as 0; from then on by all elements.",
           source="Sokar et al. 2023, arXiv 2302.12902, definition 3.1 with τ = 0; Lu et al. 2019, arXiv 1903.06733"),
    Metric(name="activation.outlier_channels", unit="1", axis="module", stage=FORWARD, log=True,
           description="Largest root mean square of a unit or channel over the (lower) median of all of them: 1 where "
                       "all are alike. Absent where the median is 0, and of outputs without units. On a CPU without a "
                       "C compiler, of a sample, as `activation.rms` tells; standard error √((k − 1)/2n) of the value, "
                       "n elements of each unit: of normally distributed ones 0.25 where there are 512 units, 0.18 of "
                       "256, 0.06 of 32, and more where the median unit is seldom other than 0. What the largest of as "
                       "many equal units would seem to be is taken off.",
           source="Xiao et al. 2022, arXiv 2211.10438, section 3; Sun et al. 2024, arXiv 2402.17762, section 2"),
    Metric(name="activation.gradient_rms", unit="1", axis="module", stage=BACKWARD, log=True,
           description="Root mean square of the loss's gradient with respect to the module's output, over all its "
                       "elements. It falls as one over the batch's size, since the loss is a mean. Absent where no "
                       "gradient came.",
           source="Glorot and Bengio 2010, section 4.2"),
    Metric(name="activation.branch_to_trunk", unit="1", axis="module", stage=FORWARD, log=True,
           description="Where a residual branch is joined: root mean square of what the branch adds (scaled or gated, "
                       "before stochastic depth drops any) over that of what it is added to. Absent of all else.",
           source="De and Smith 2020, arXiv 2002.10444, section 2"),
    Metric(name="activation.effective_rank", unit="1", axis="module", stage=FORWARD,
           description="exp(−Σ p·ln p), p = σ/Σσ, of the singular values of the module's output as rows by features, "
                       "nothing subtracted: of at most 128 evenly spread rows (samples, positions, pixels) and 128 "
                       "features (`probes.ranks`), of its first call in the step.",
           source="Roy and Vetterli 2007, EUSIPCO, definition 1"),
    Metric(name="activation.stable_rank", unit="1", axis="module", stage=FORWARD,
           description="Σσ²/σ₁² of the same singular values.",
           source="Rudelson and Vershynin 2007, Journal of the ACM 54, section 1.1"),
)  # fmt: skip
