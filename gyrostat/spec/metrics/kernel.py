"""The neural tangent kernel."""

from gyrostat.spec.metrics.base import FEATURES, Metric

METRICS = (
    Metric(name="kernel.largest_eigenvalue", unit="1", axis="run", stage=FEATURES, log=True,
           description="Of the neural tangent kernel Θ = JJᵀ of the first samples of the probe batch, J the gradients "
                       "by all trainable parameters of sᵀy/√K, y a sample's K outputs and s random signs, the same at "
                       "every measurement; over signs its mean is that over outputs of their kernels.",
           source="Jacot et al. 2018, arXiv 1806.07572, section 4; in the manner of Mohamadi et al. 2022, arXiv "
                  "2206.12543, section 3"),
    Metric(name="kernel.trace", unit="1", axis="run", stage=FEATURES, log=True,
           description="Trace of the same kernel: the sum over samples of the squared norm of their gradient."),
    Metric(name="kernel.condition_number", unit="1", axis="run", stage=FEATURES, log=True,
           description="Largest over smallest eigenvalue of the same kernel, the smallest taken as at least 1e-12 of "
                       "the largest: how much slower the slowest direction of the outputs is learnt.",
           source="Xiao, Pennington and Schoenholz 2020, arXiv 1912.13053, section 3"),
    Metric(name="kernel.effective_rank", unit="1", axis="run", stage=FEATURES,
           description="Exponential of the entropy of the same kernel's eigenvalues over their sum: 1 where one "
                       "direction is all, the number of samples where all are alike.",
           source="Roy and Vetterli 2007, The effective rank, section 2"),
    Metric(name="kernel.drift", unit="1", axis="run", stage=FEATURES, log=True,
           description="‖Θ − Θ₀‖_F/‖Θ₀‖_F, Θ₀ the same kernel when the run began (a fork: from the weights it took "
                       "over); 0 where training is linear. Batch norms' running statistics are those of the moment, so "
                       "that their settling counts.",
           source="Lee et al. 2019, arXiv 1902.06720"),
    Metric(name="kernel.distance", unit="1", axis="run", stage=FEATURES,
           description="1 − ⟨Θ, Θ₀⟩/(‖Θ‖_F‖Θ₀‖_F), Θ₀ the same kernel when the run began: how far it has turned, "
                       "whatever its size.",
           source="Fort et al. 2020, arXiv 2010.15110, eq. 3"),
    Metric(name="kernel.last_distance", unit="1", axis="run", stage=FEATURES, log=True,
           description="As kernel.distance, from the kernel of the last measurement (at first, from Θ₀); over the "
                       "steps between, the kernel's velocity.",
           source="Fort et al. 2020, arXiv 2010.15110"),
)  # fmt: skip
