"""Data sets that every worker has or makes itself, and the base of all data sets."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from pydantic import Field

from gyrostat.spec.catalogue import Settings

TaskKind = str
"""The `kind` of one of `gyrostat.spec.tasks`, which names data sets and so cannot be imported here."""

Form = Literal["image", "table", "text", "any"]
"""What a sample is: (C, H, W) pixels, a row of numbers, a stretch of tokens, or whatever the file holds."""

IMAGE_TASKS = ("classification", "denoising", "contrastive", "vae", "gan")
"""What can be learnt from labelled images."""


@dataclass(frozen=True, kw_only=True)
class DatasetEntry:
    """The catalogue text of a data set.

    Attributes:
        tasks: kinds of tasks that it fits. form: what a sample is.
        shape: of one sample, at default settings; None where the file decides.
        outputs: classes, or numbers to predict. rows: samples. Both None where the file decides.
    """

    title: str
    tasks: tuple[TaskKind, ...]
    form: Form
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
        if "entry" not in cls.__dict__:
            return
        kind = cls.model_fields["kind"].default
        if kind in DATASETS:
            raise TypeError(f"two data sets have the kind {kind!r}: {DATASETS[kind]} and {cls}")
        DATASETS[kind] = cls

    def sample_shape(self) -> tuple[int, ...] | None:
        """Of one sample, as these settings have it; None where the file decides."""
        return self.entry.shape

    def num_rows(self) -> int | None:
        """Samples, as these settings have it; None where the file decides."""
        return self.entry.rows

    def num_outputs(self) -> int | None:
        """Classes, or numbers to predict, as these settings have it; None where the file decides."""
        return self.entry.outputs


@dataclass(frozen=True)
class ReadDataset:
    """A data set that has been read: it stands for the one that was named, with what was found in it.

    So a spec whose data nobody knew when it was written can be checked again by the same checks.
    """

    named: Dataset
    shape: tuple[int, ...]
    outputs: int
    rows: int

    @property
    def kind(self) -> str:
        """As named."""
        kind: str = type(self.named).model_fields["kind"].default
        return kind

    @property
    def entry(self) -> DatasetEntry:
        """As named, but with what was found."""
        form: Form = "image" if len(self.shape) == 3 else "table"
        return replace(self.named.entry, form=form, shape=self.shape, outputs=self.outputs, rows=self.rows)

    def sample_shape(self) -> tuple[int, ...]:
        """As found."""
        return self.shape

    def num_rows(self) -> int:
        """As found."""
        return self.rows

    def num_outputs(self) -> int:
        """As found."""
        return self.outputs


class Digits(Dataset):
    """8 x 8 images of handwritten digits; ships with scikit-learn."""

    entry: ClassVar[DatasetEntry] = DatasetEntry(
        title="Handwritten digits, 8 x 8",
        tasks=IMAGE_TASKS,
        form="image",
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
        tasks=IMAGE_TASKS,
        form="image",
        shape=(1, 28, 28),
        outputs=10,
        rows=70_000,
        source="Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747; Debian package dataset-fashion-mnist",
    )
    kind: Literal["fashion_mnist"] = "fashion_mnist"


class BreastCancer(Dataset):
    """Benign or malignant, from thirty measurements of cell nuclei; ships with scikit-learn."""

    entry: ClassVar[DatasetEntry] = DatasetEntry(
        title="Breast cancer, Wisconsin",
        tasks=("classification",),
        form="table",
        shape=(30,),
        outputs=2,
        rows=569,
        source="UCI Breast Cancer Wisconsin (Diagnostic), through scikit-learn",
    )
    kind: Literal["breast_cancer"] = "breast_cancer"


class Wine(Dataset):
    """Three cultivars, from thirteen chemical measurements; ships with scikit-learn."""

    entry: ClassVar[DatasetEntry] = DatasetEntry(
        title="Wine cultivars",
        tasks=("classification",),
        form="table",
        shape=(13,),
        outputs=3,
        rows=178,
        source="UCI Wine, through scikit-learn",
    )
    kind: Literal["wine"] = "wine"


class Iris(Dataset):
    """Three species, from four measurements of the flower; ships with scikit-learn."""

    entry: ClassVar[DatasetEntry] = DatasetEntry(
        title="Iris species",
        tasks=("classification",),
        form="table",
        shape=(4,),
        outputs=3,
        rows=150,
        source="Fisher 1936, Annals of Eugenics 7, through scikit-learn",
    )
    kind: Literal["iris"] = "iris"


class Diabetes(Dataset):
    """Disease progression from ten measurements, standardized; ships with scikit-learn."""

    entry: ClassVar[DatasetEntry] = DatasetEntry(
        title="Diabetes progression",
        tasks=("regression",),
        form="table",
        shape=(10,),
        outputs=1,
        rows=442,
        source="Efron et al. 2004, Annals of Statistics 32, through scikit-learn",
    )
    kind: Literal["diabetes"] = "diabetes"


class Imbalanced(Dataset):
    """Two classes of points in twenty dimensions, one of them rare; class 1 is the rare one."""

    entry: ClassVar[DatasetEntry] = DatasetEntry(
        title="Two classes, one rare",
        tasks=("classification",),
        form="table",
        shape=(20,),
        outputs=2,
        rows=4000,
        source="generated: clusters on the corners of a hypercube, `make_classification` of scikit-learn "
        "(Guyon 2003, Design of experiments for the NIPS 2003 variable selection benchmark)",
    )
    kind: Literal["imbalanced"] = "imbalanced"
    rare_fraction: float = Field(0.05, ge=0.005, le=0.5)
    """Share of the samples that are of the rare class."""
    separation: float = Field(1.0, gt=0, le=10)
    """Half the distance between the clusters, in units of their deviation; smaller is harder."""
    rows: int = Field(4000, ge=400, le=1_000_000)
    """Samples."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Of the data, not of the run."""

    def num_rows(self) -> int:
        """As set."""
        return self.rows


class Gaussians(Dataset):
    """Points in the plane, around centres that lie on a circle; the class is the centre's number."""

    entry: ClassVar[DatasetEntry] = DatasetEntry(
        title="A ring of Gaussians in the plane",
        tasks=("classification", "denoising", "vae", "gan"),
        form="table",
        shape=(2,),
        outputs=8,
        rows=8000,
        source="generated, in the manner of Metz et al. 2016, arXiv 1611.02163 (mixture of Gaussians on a circle)",
    )
    kind: Literal["gaussians"] = "gaussians"
    modes: int = Field(8, ge=2, le=1000)
    """Centres, at equal distances on the circle of radius 2."""
    spread: float = Field(0.1, gt=0, le=10)
    """Standard deviation of each coordinate around its centre."""
    rows: int = Field(8000, ge=8, le=10_000_000)
    """Points, as many of each centre as can be."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Of the data, not of the run."""

    def num_outputs(self) -> int:
        """A class for each centre."""
        return self.modes

    def num_rows(self) -> int:
        """As set."""
        return self.rows


class Shapes(Dataset):
    """Discs, rectangles and triangles of several sizes on a noisy background, and each pixel's class.

    Class 0 is the background, 1 discs, 2 rectangles, 3 triangles. A shape is between an eighth and a half of the
    image's side across; where two overlap, the later one hides the earlier.
    """

    entry: ClassVar[DatasetEntry] = DatasetEntry(
        title="Shapes of several sizes, with masks",
        tasks=("segmentation", "denoising", "vae", "gan"),
        form="image",
        shape=(1, 32, 32),
        outputs=4,
        rows=1000,
        source="generated, in the manner of Ronneberger, Fischer and Brox 2015, arXiv 1505.04597 (image to mask)",
    )
    kind: Literal["shapes"] = "shapes"
    size: int = Field(32, ge=8, le=512)
    """Side of the square image, in pixels."""
    channels: Literal[1, 3] = 1
    """1 for grey, 3 for colour."""
    objects: int = Field(3, ge=1, le=20)
    """Most shapes in one image; each image has between one and so many."""
    noise: float = Field(0.2, ge=0, le=10)
    """Standard deviation of the noise on every pixel; the shapes are 0.5 to 1 brighter than the background."""
    rows: int = Field(1000, ge=8, le=100_000)
    """Images."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Of the data, not of the run."""

    def sample_shape(self) -> tuple[int, ...]:
        """As set."""
        return (self.channels, self.size, self.size)

    def num_rows(self) -> int:
        """As set."""
        return self.rows


class PythonTopics(Dataset):
    """The English of Python's own language reference, which ships with Python."""

    entry: ClassVar[DatasetEntry] = DatasetEntry(
        title="Python's language reference, as text",
        tasks=("language_model",),
        form="text",
        shape=None,
        outputs=None,
        rows=None,
        source="`pydoc_data.topics` of the Python that runs the worker",
    )
    kind: Literal["python_topics"] = "python_topics"
    unit: Literal["byte", "character"] = "byte"
    """What one token is."""
