"""Data sets of the Hugging Face hub, read as tables, through its package `datasets` where it is installed."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gyrostat.spec.files import HuggingFace
from trainer.data.frames import labelled
from trainer.data.own_files import bounded, needed
from trainer.data.samples import DataError, Labelled, Text
from trainer.data.sources import PRESENCE, SOURCES
from trainer.data.text import tokenized


@SOURCES.implements(HuggingFace)
def hugging_face(settings: HuggingFace, data_root: Path | None) -> Labelled | Text:
    """A split's rows as a table, or the text of one of its columns. Code that a data set ships is never run."""
    datasets = needed("datasets", "a data set of the Hugging Face hub")
    needed("pandas", "a data set of the Hugging Face hub")
    if Path(settings.name).exists():
        # the package would take it for a folder of files, wherever the worker happens to run
        raise DataError(f"{settings.name!r} is a local path where the worker runs; only names of the hub are read")
    try:
        # versions before 4 run a data set's code only when told to, and later ones never
        rows: Any = datasets.load_dataset(settings.name, settings.configuration, split=settings.split)
    except Exception as error:  # the package raises its own, the network's and the file system's errors
        reason = f"{type(error).__name__}: {str(error).strip()[:500]}"
        raise DataError(
            f"{settings.name!r} of the Hugging Face hub cannot be read ({reason}); check name, configuration, split "
            "and the worker's network"
        ) from error
    bounded(int(getattr(rows, "size_in_bytes", None) or 0), settings.name)
    return read(rows.to_pandas(), settings)


def read(frame: Any, settings: HuggingFace) -> Labelled | Text:
    """What the spec names of a data frame.

    Raises:
        DataError: it does not have that, or holds something else.
    """
    if settings.text is None:
        return labelled(frame, settings.target, settings.columns, settings.name, first_line=1)
    if settings.text not in frame.columns:
        raise DataError(f"{settings.name!r} has no column {settings.text!r}; it has {', '.join(map(str, frame))}")
    lines = [line for line in frame[settings.text] if isinstance(line, str)]
    return tokenized("\n".join(lines), settings.unit)


@PRESENCE.implements(HuggingFace)
def hugging_face_present(data_root: Path | None) -> bool:
    """Whether the package is installed; what the hub has is known when it is asked."""
    return find_spec("datasets") is not None
