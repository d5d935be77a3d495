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


Task = Annotated[Classification | Regression | LanguageModel, Field(discriminator="kind")]
"""Any task."""
