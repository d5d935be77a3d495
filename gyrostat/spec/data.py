"""Data sets, and how samples reach the model."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from gyrostat.spec.catalogue import Settings, Shorthand

TaskKind = str
"""The `kind` of one of `gyrostat.spec.tasks`, which names data sets and so cannot be imported here."""


@dataclass(frozen=True, kw_only=True)
class DatasetEntry:
    """The catalogue text of a data set. `shape` is one sample's; None where the file decides."""

    title: str
    tasks: tuple[TaskKind, ...]
    shape: tuple[int, ...] | None
    outputs: int | None
    rows: int | None
    source: str


DATASETS: dict[str, type["Dataset"]] = {}
"""Every data set by its kind."""


class Dataset(Settings):
    """A data set. Subclasses set `entry` and a literal `kind`; defining one registers it."""

    entry: ClassVar[DatasetEntry]

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        kind = cls.model_fields["kind"].default
        if kind in DATASETS:
            raise TypeError(f"two data sets have the kind {kind!r}: {DATASETS[kind]} and {cls}")
        DATASETS[kind] = cls


class Digits(Dataset):
    """8 x 8 images of handwritten digits; ships with scikit-learn."""

    entry: ClassVar[DatasetEntry] = DatasetEntry(
        title="Handwritten digits, 8 x 8",
        tasks=("classification",),
        shape=(1, 8, 8),
        outputs=10,
        rows=1797,
        source="UCI Optical Recognition of Handwritten Digits, through scikit-learn",
    )
    kind: Literal["digits"] = "digits"


class FashionMnist(Dataset):
    """28 x 28 images of clothes; used where Debian's package dataset-fashion-mnist is installed."""

    entry: ClassVar[DatasetEntry] = DatasetEntry(
        title="Fashion-MNIST, 28 x 28",
        tasks=("classification",),
        shape=(1, 28, 28),
        outputs=10,
        rows=70_000,
        source="Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747; Debian package dataset-fashion-mnist",
    )
    kind: Literal["fashion_mnist"] = "fashion_mnist"


class Diabetes(Dataset):
    """Disease progression from ten measurements, standardized; ships with scikit-learn."""

    entry: ClassVar[DatasetEntry] = DatasetEntry(
        title="Diabetes progression",
        tasks=("regression",),
        shape=(10,),
        outputs=1,
        rows=442,
        source="Efron et al. 2004, Annals of Statistics 32, through scikit-learn",
    )
    kind: Literal["diabetes"] = "diabetes"


class PythonTopics(Dataset):
    """The English of Python's own language reference, which ships with Python."""

    entry: ClassVar[DatasetEntry] = DatasetEntry(
        title="Python's language reference, as text",
        tasks=("language_model",),
        shape=None,
        outputs=None,
        rows=None,
        source="`pydoc_data.topics` of the Python that runs the worker",
    )
    kind: Literal["python_topics"] = "python_topics"
    unit: Literal["byte", "character"] = "byte"
    """What one token is."""


def _stays_inside(path: str) -> str:
    if path.startswith(("/", "~")) or ".." in path.split("/") or any(c == "\\" or ord(c) < 32 for c in path):
        raise ValueError("must be relative to the data root, without '..', backslash or control characters")
    return path


class TextFile(Dataset):
    """A UTF-8 text file of the user's own, under the worker's data root."""

    entry: ClassVar[DatasetEntry] = DatasetEntry(
        title="A text file of your own",
        tasks=("language_model",),
        shape=None,
        outputs=None,
        rows=None,
        source="a file under the worker's data root (`GYROSTAT_DATA_ROOT`)",
    )
    kind: Literal["text_file"] = "text_file"
    path: Annotated[str, AfterValidator(_stays_inside)] = Field(min_length=1, max_length=512)
    """Relative to the data root; no `..`, no backslash."""
    unit: Literal["byte", "character"] = "byte"
    """What one token is."""


AnyDataset = Annotated[
    Digits | FashionMnist | Diabetes | PythonTopics | TextFile, Field(discriminator="kind"), Shorthand
]


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
