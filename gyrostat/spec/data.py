"""How samples reach the model, and every data set that they may come from."""

from typing import Annotated

from pydantic import Field

from gyrostat.spec.augmentation import AnyAugmentation
from gyrostat.spec.catalogue import Settings, Shorthand
from gyrostat.spec.curriculum import AnyCurriculum
from gyrostat.spec.datasets import (
    DATASETS,
    BreastCancer,
    Dataset,
    DatasetEntry,
    Diabetes,
    Digits,
    FashionMnist,
    Gaussians,
    Imbalanced,
    Iris,
    PythonTopics,
    Shapes,
    TaskKind,
    Wine,
)
from gyrostat.spec.files import Csv, HuggingFace, ImageFolder, MaskFolder, Npz, Parquet, TextFile
from gyrostat.spec.mixing import Mix
from gyrostat.spec.transduction import TextTransduction, Transduction

__all__ = [
    "DATASETS",
    "AnyDataset",
    "Batching",
    "BreastCancer",
    "Dataset",
    "DatasetEntry",
    "Diabetes",
    "Digits",
    "FashionMnist",
    "Gaussians",
    "Imbalanced",
    "Iris",
    "PythonTopics",
    "Shapes",
    "TaskKind",
    "TextFile",
    "Wine",
]

AnyDataset = Annotated[
    Digits
    | FashionMnist
    | BreastCancer
    | Wine
    | Iris
    | Diabetes
    | Imbalanced
    | Gaussians
    | Shapes
    | PythonTopics
    | TextFile
    | Transduction
    | TextTransduction
    | Npz
    | Csv
    | Parquet
    | ImageFolder
    | MaskFolder
    | HuggingFace,
    Field(discriminator="kind"),
    Shorthand,
]
"""Any data set."""


class Batching(Settings):
    """How samples reach the model."""

    batch_size: int = Field(64, ge=1, le=1_000_000)
    """Samples (for language models: sequences) of one optimizer step."""
    validation_fraction: float = Field(0.2, gt=0, lt=1)
    """Part of the data held out for validation."""
    limit: int | None = Field(None, ge=8)
    """Use only this many samples (for text: tokens); null for all."""
    sequence_length: int = Field(64, ge=2, le=65_536)
    """Tokens of one training sequence; only language models look at it."""
    label_noise: float = Field(0.0, ge=0, le=1)
    """Part of the training labels that is replaced by another class, drawn evenly; for studies. Validation stays."""
    augment: tuple[AnyAugmentation, ...] = Field((), max_length=16, strict=False)
    """Random changes of training images, in this order."""
    mix: Mix | None = None
    """Mixing of samples and their labels within a training batch; null for none."""
    curriculum: AnyCurriculum | None = None
    """Easy samples first; null for all samples from the start."""
