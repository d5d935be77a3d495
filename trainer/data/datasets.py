"""Every data set by its settings: what this machine has, and how to load it."""

from pathlib import Path

from gyrostat.spec.data import DATASETS, Dataset
from trainer.data import (  # noqa: F401  (each registers its sources)
    arrays,
    diabetes,
    digits,
    fashion_mnist,
    frames,
    generated,
    hub,
    image_files,
    tables,
    text,
    transduction,
)
from trainer.data.samples import Labelled, Pairs, Text
from trainer.data.sources import PRESENCE, SOURCES


def load(settings: Dataset, data_root: Path | None = None) -> Labelled | Text | Pairs:
    """The whole data set, as its source has it.

    Raises:
        DataError: this machine does not have it, or may not read it.
    """
    return SOURCES.of(settings)(settings, data_root)


def available(data_root: Path | None = None) -> list[str]:
    """Kinds of data sets that this machine can load, in the catalogue's order."""
    return [kind for kind, settings in DATASETS.items() if _present(settings, data_root)]


def _present(settings: type[Dataset], data_root: Path | None) -> bool:
    return settings not in PRESENCE or PRESENCE.of_class(settings)(data_root)
