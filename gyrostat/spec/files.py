"""Data sets of the user's own: files under the worker's data root, and what the Hugging Face hub has.

What they hold is known to the worker alone. A spec that names one is checked again when its data has been read, and
what does not fit is an event on the run.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from gyrostat.spec.datasets import IMAGE_TASKS, Dataset, DatasetEntry

OWN = "a file under the worker's data root (`GYROSTAT_DATA_ROOT`)"


def _stays_inside(path: str) -> str:
    if path.startswith(("/", "~")) or ".." in path.split("/") or any(c == "\\" or ord(c) < 32 for c in path):
        raise ValueError("must be relative to the data root, without '..', backslash or control characters")
    return path


OwnPath = Annotated[str, AfterValidator(_stays_inside), Field(min_length=1, max_length=512)]
"""A path relative to the data root."""

Column = Annotated[str, Field(min_length=1, max_length=256)]
"""A column's name."""


class TextFile(Dataset):
    """A UTF-8 text file of the user's own, under the worker's data root."""

    entry: ClassVar[DatasetEntry] = DatasetEntry(
        title="A text file of your own",
        tasks=("language_model",),
        form="text",
        shape=None,
        outputs=None,
        rows=None,
        source=OWN,
    )
    kind: Literal["text_file"] = "text_file"
    path: OwnPath
    """Relative to the data root; no `..`, no backslash."""
    unit: Literal["byte", "character"] = "byte"
    """What one token is."""


class Npz(Dataset):
    """Arrays of the user's own: NumPy's `.npz`, inputs (N, ...) and targets, one a sample, or (N, H, W) masks."""

    entry: ClassVar[DatasetEntry] = DatasetEntry(
        title="NumPy arrays of your own",
        tasks=("classification", "regression", "segmentation", "denoising", "contrastive", "vae", "gan"),
        form="any",
        shape=None,
        outputs=None,
        rows=None,
        source=OWN,
    )
    kind: Literal["npz"] = "npz"
    path: OwnPath
    """Relative to the data root; no `..`, no backslash."""
    inputs: Column = "x"
    """Name of the array of inputs: (N, columns), or images (N, C, H, W), or grey ones (N, H, W)."""
    targets: Column = "y"
    """Name of the array of targets: class numbers (N,) from 0 on, numbers (N,) or (N, outputs), masks (N, H, W)."""


class TableFile(Dataset):
    """What the two kinds of tables share."""

    path: OwnPath
    """Relative to the data root; no `..`, no backslash."""
    target: Column = "target"
    """Column to predict: text or whole numbers from 0 on name classes; numbers for regression."""
    columns: tuple[Column, ...] | None = Field(None, min_length=1, max_length=10_000, strict=False)
    """Columns to predict it from, all numbers; null for all but the target."""


class Csv(TableFile):
    """A table of the user's own: comma-separated, UTF-8, its first line the names of its columns."""

    entry: ClassVar[DatasetEntry] = DatasetEntry(
        title="A CSV table of your own",
        tasks=("classification", "regression"),
        form="table",
        shape=None,
        outputs=None,
        rows=None,
        source=OWN,
    )
    kind: Literal["csv"] = "csv"
    separator: Literal[",", ";", "\t", "|"] = ","
    """Between two values of a line."""


class Parquet(TableFile):
    """A table of the user's own, as a Parquet file."""

    entry: ClassVar[DatasetEntry] = DatasetEntry(
        title="A Parquet table of your own",
        tasks=("classification", "regression"),
        form="table",
        shape=None,
        outputs=None,
        rows=None,
        source=OWN,
    )
    kind: Literal["parquet"] = "parquet"


class ImageFiles(Dataset):
    """What folders of images share."""

    path: OwnPath
    """Folder, relative to the data root; no `..`, no backslash."""
    size: int = Field(32, ge=4, le=1024)
    """Side that every image is resized to, square."""
    channels: Literal[1, 3] = 3
    """1 for grey, 3 for colour; images are converted."""

    def sample_shape(self) -> tuple[int, ...]:
        """As set."""
        return (self.channels, self.size, self.size)


class ImageFolder(ImageFiles):
    """Images of the user's own (PNG, JPEG, BMP, WebP), one sub-folder for each class, which it names."""

    entry: ClassVar[DatasetEntry] = DatasetEntry(
        title="A folder of images of your own",
        tasks=IMAGE_TASKS,
        form="image",
        shape=(3, 32, 32),
        outputs=None,
        rows=None,
        source=OWN,
    )
    kind: Literal["image_folder"] = "image_folder"


class MaskFolder(ImageFiles):
    """Images of the user's own in the sub-folder `images`, and masks of the same names (but for the ending) in `masks`.

    A mask is an 8-bit grey or palette image; a pixel's value is its class, 0 the background.
    """

    entry: ClassVar[DatasetEntry] = DatasetEntry(
        title="A folder of images and masks of your own",
        tasks=("segmentation",),
        form="image",
        shape=(3, 32, 32),
        outputs=None,
        rows=None,
        source=OWN,
    )
    kind: Literal["mask_folder"] = "mask_folder"


class HuggingFace(Dataset):
    """A data set of the Hugging Face hub, where the worker has the package `datasets` and reaches the hub.

    It is read as a table: columns of numbers and one of classes or numbers, or one column of text. Code that comes with
    a data set is never run.
    """

    entry: ClassVar[DatasetEntry] = DatasetEntry(
        title="A data set of the Hugging Face hub",
        tasks=("classification", "regression", "language_model"),
        form="any",
        shape=None,
        outputs=None,
        rows=None,
        source="Lhoest et al. 2021, arXiv 2109.02846; the hub, over the network or from the package's cache",
    )
    kind: Literal["hugging_face"] = "hugging_face"
    name: str = Field(max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)?$")
    """As the hub has it: `owner/name`, or `name`."""
    configuration: Column | None = None
    """Of data sets that come in several; null for the only one."""
    split: Column = "train"
    """The part to read; validation data is held out of it."""
    text: Column | None = None
    """For language models: the column of text, its rows joined by line ends."""
    target: Column = "label"
    """Column to predict."""
    columns: tuple[Column, ...] | None = Field(None, min_length=1, max_length=10_000, strict=False)
    """Columns to predict it from, all numbers; null for all but the target."""
    unit: Literal["byte", "character"] = "byte"
    """What one token of text is."""
