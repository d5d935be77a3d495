"""How steep the network is in its inputs."""

from gyrostat.spec.metrics.base import FEATURES, Metric

METRICS = (
    Metric(name="lipschitz.input_gradient_norm", unit="1", axis="run", stage=FEATURES, log=True,
           description="Mean over the N samples of the probe batch of N·‖∂L/∂xₙ‖₂, L the training loss, mean over "
                       "samples: ‖∇ₓ loss‖₂ of a sample, where its loss depends on no other. Of the first of the "
                       "inputs; absent where it is of whole numbers, as tokens are.",
           source="Drucker and Le Cun 1992, IEEE Transactions on Neural Networks 3(6)"),
    Metric(name="lipschitz.input_gradient_max", unit="1", axis="run", stage=FEATURES, log=True,
           description="The largest of the same: the Lipschitz constant of the loss in its inputs, from below.",
           source="Hein and Andriushchenko 2017, arXiv 1705.08475, theorem 2.1"),
)  # fmt: skip
