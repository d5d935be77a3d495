"""What is learnt, from which data."""

from typing import Annotated, Literal

from pydantic import Field

from gyrostat.spec.catalogue import Settings
from gyrostat.spec.data import AnyDataset


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


Task = Annotated[Classification | Regression | LanguageModel | Segmentation | Contrastive, Field(discriminator="kind")]
"""Any task."""
