"""What bounds how fast a network's output can change: Lipschitz control (brief section 12)."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gyrostat.spec.catalogue import Entry, Settings, Shorthand, Technique
from gyrostat.spec.normalization import WeightNorm


class SpectralNorm(Technique):
    """Spectral normalization."""

    family: ClassVar[str] = "parametrization"
    entry: ClassVar[Entry] = Entry(
        section="12",
        title="Spectral normalization",
        formula="W̄ = c·W/σ(W), σ the largest singular value, by power iterations that go on from step to step",
        controls="the largest factor by which each layer can stretch a difference, and so their product",
        when="Critics of adversarial nets, and where outputs must not be sensitive to small changes of the input. It "
        "acts on all linear layers and convolutions, the output's among them, so logits are small: give them a larger "
        "c, or expect a higher loss. Every forward pass in training makes its power iterations, so k micro-batches "
        "equal the whole batch only as far as σ has settled.",
        treats=("exploding_gradient", "sharpness"),
        source="Miyato et al. 2018, arXiv 1802.05957, eq. 8 and algorithm 1; operator norm of a convolution: "
        "Gouk et al. 2018, arXiv 1804.04368",
    )

    kind: Literal["spectral_norm"] = "spectral_norm"
    norm: Literal["reshaped", "operator"] = "reshaped"
    """Of a convolution: σ of its kernel reshaped to (out, in·height·width), or of the whole operator on the feature
    maps that it is given, which alone bounds how much the layer stretches. Linear layers have one and the same."""
    max_norm: float = Field(1.0, gt=0, le=1000)
    """c: the spectral norm that every layer has."""
    power_iterations: int = Field(1, ge=1, le=100)
    """Made at each forward pass in training."""


Parametrization = Annotated[WeightNorm | SpectralNorm, Field(discriminator="kind"), Shorthand]
"""What stands in for the weights of linear layers and convolutions."""


class OneCentred(Technique):
    """One-centred gradient penalty on interpolates."""

    family: ClassVar[str] = "gradient_penalty"
    entry: ClassVar[Entry] = Entry(
        section="12",
        title="Gradient penalty on interpolates",
        formula="L ← L + λ·E[(‖∇_x̂ D(x̂)‖₂ − 1)²], x̂ = ε·x_real + (1 − ε)·x_fake, ε ~ U(0, 1)",
        controls="the slope of a critic between real and generated samples, drawn to 1",
        when="Critics of adversarial nets; without batch normalization, which ties samples together.",
        source="Gulrajani et al. 2017, arXiv 1704.00028, eq. 3",
    )

    kind: Literal["one_centred"] = "one_centred"
    weight: float = Field(10.0, gt=0, le=1e6)
    """λ."""


class InputGradient(Technique):
    """Penalty on the gradient with respect to the inputs."""

    family: ClassVar[str] = "gradient_penalty"
    entry: ClassVar[Entry] = Entry(
        section="12",
        title="Input gradient penalty",
        formula="L ← L + λ·mean_n ‖∂L_n/∂x_n‖₂², L_n the loss of sample n",
        controls="how much a small change of a sample can change its loss",
        when="Too little data, or inputs that are noisy or can be tampered with; a step costs about twice as much. "
        "With batch normalization a sample's gradient also holds its part in the others' statistics. In fp16 it is "
        "taken of the unscaled loss and can underflow; take bf16.",
        treats=("sharpness",),
        source="Drucker and Le Cun 1992, IEEE Transactions on Neural Networks 3(6), Improving generalization "
        "performance using double backpropagation",
    )

    kind: Literal["inputs"] = "inputs"
    weight: float = Field(0.1, gt=0, le=1e6)
    """λ."""


GradientPenalty = Annotated[OneCentred | InputGradient, Field(discriminator="kind"), Shorthand]
"""Any gradient penalty."""


class WeightClip(Technique):
    """Weight clipping."""

    family: ClassVar[str] = "lipschitz"
    entry: ClassVar[Entry] = Entry(
        section="12",
        title="Weight clipping",
        formula="w ← min(max(w, −c), c) after every optimizer step",
        controls="the size of every single weight, and so a bound on what each layer can stretch",
        when="Critics of adversarial nets, as the plainest way; a penalty or spectral normalization costs less of what "
        "the critic can express. It acts on matrices, kernels and embeddings, not on biases and gains; under weight "
        "normalization on g, so that no unit is longer than c.",
        treats=("exploding_gradient",),
        source="Arjovsky, Chintala and Bottou 2017, arXiv 1701.07875, algorithm 1",
    )

    kind: Literal["weight_clip"] = "weight_clip"
    limit: float = Field(0.05, gt=0, le=1000)
    """c."""


class Lipschitz(Settings):
    """Bounds on how fast the output changes with the input."""

    gradient_penalty: GradientPenalty | None = None
    """Added to the training loss; null for none. `one_centred` is for adversarial critics, `inputs` for supervised
    tasks."""
    weight_clip: Annotated[WeightClip, Shorthand] | None = None
    """Weights kept within ±c; null for none."""
