"""What is learnt, from which data."""

from typing import Annotated, Literal

from pydantic import Field

from gyrostat.spec.architectures import Mlp
from gyrostat.spec.catalogue import Settings, Shorthand
from gyrostat.spec.data import AnyDataset
from gyrostat.spec.diffusion import CosineNoise, NoiseSchedule
from gyrostat.spec.kl import VaeKl


class Classification(Settings):
    """Tell which class a sample belongs to."""

    kind: Literal["classification"] = "classification"
    dataset: AnyDataset
    """What to learn from."""


class Regression(Settings):
    """Predict a number from a sample."""

    kind: Literal["regression"] = "regression"
    dataset: AnyDataset
    """What to learn from."""


class LanguageModel(Settings):
    """Predict the next byte or character of a text."""

    kind: Literal["language_model"] = "language_model"
    dataset: AnyDataset
    """What to learn from."""


class SequenceToSequence(Settings):
    """Make one sequence of another, token by token, reading the true beginning of the target."""

    kind: Literal["sequence_to_sequence"] = "sequence_to_sequence"
    dataset: AnyDataset
    """What to learn from."""


class Segmentation(Settings):
    """Tell which class each pixel belongs to."""

    kind: Literal["segmentation"] = "segmentation"
    dataset: AnyDataset
    """What to learn from."""


class Contrastive(Settings):
    """Tell views of one sample from views of others: representations without labels.

    Two random views of each sample (`data.augment`; by default shifts, turns, changes of size and noise) go through the
    model, whose output is the first layer of a projection head; the loss compares what comes out. Labels serve only
    the linear probe.
    """

    kind: Literal["contrastive"] = "contrastive"
    dataset: AnyDataset
    """What to learn from; its labels are for the linear probe, and for `supervised`."""
    projection: int = Field(64, ge=2, le=8192)
    """Features of the embeddings that are compared, and of the hidden layer of the projection head."""
    supervised: bool = False
    """Whether samples of one class count as views of one another."""


class Denoising(Settings):
    """Tell the noise in a noisy sample: denoising diffusion, which makes samples by taking noise away step by step."""

    kind: Literal["denoising"] = "denoising"
    dataset: AnyDataset
    """What to learn from; labels are not looked at."""
    noise_schedule: NoiseSchedule = CosineNoise()
    """How much noise each diffusion step adds."""


class Vae(Settings):
    """Code samples smoothly and decode them again: a variational autoencoder. `model` is the encoder."""

    kind: Literal["vae"] = "vae"
    dataset: AnyDataset
    """What to learn from; labels are not looked at."""
    latent: int = Field(8, ge=1, le=1024)
    """Numbers of a sample's code."""
    kl: Annotated[VaeKl, Shorthand] = VaeKl()
    """What keeps codes near the standard normal distribution."""
    decoder: Annotated[Mlp, Shorthand] = Mlp(depth=2)
    """From codes to samples."""


class Gan(Settings):
    """Make samples that a critic cannot tell from data: adversarial training. `model` is the critic.

    `parametrization` and `lipschitz` act on the critic alone.
    """

    kind: Literal["gan"] = "gan"
    dataset: AnyDataset
    """What to learn from; labels serve only to count the modes that are hit."""
    latent: int = Field(16, ge=1, le=1024)
    """Numbers of the noise that a sample is made of."""
    objective: Literal["wasserstein", "non_saturating"] = "wasserstein"
    """What the critic is asked: a difference of mean scores, for which its slope must be bounded, or a class."""
    critic_steps: int = Field(1, ge=1, le=100)
    """The generator moves at every so many-th step, the critic at each."""
    generator: Annotated[Mlp, Shorthand] = Mlp(depth=2)
    """From noise to samples."""


Task = Annotated[
    Classification
    | Regression
    | LanguageModel
    | SequenceToSequence
    | Segmentation
    | Contrastive
    | Denoising
    | Vae
    | Gan,
    Field(discriminator="kind"),
]
"""Any task."""
