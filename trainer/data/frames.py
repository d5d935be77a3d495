"""Tables of the user's own: CSV and Parquet, and whatever else becomes a data frame."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy
import torch

from gyrostat.spec.files import Csv, Parquet
from trainer.data.own_files import bounded, data_root_present, needed, own_file
from trainer.data.samples import DataError, Labelled
from trainer.data.sources import PRESENCE, SOURCES

if TYPE_CHECKING:
    import pandas

PRESENCE.implements(Csv)(data_root_present)
PRESENCE.implements(Parquet)(data_root_present)

SHOWN_NAMES = 20


@SOURCES.implements(Csv)
def csv(settings: Csv, data_root: Path | None) -> Labelled:
    """The rows of a CSV file, its first line the names of the columns."""
    path = own_file(settings.path, data_root)
    pandas = needed("pandas", "a CSV table")
    try:
        frame = pandas.read_csv(path, sep=settings.separator, encoding="utf-8", low_memory=False)
    except (ValueError, pandas.errors.ParserError, pandas.errors.EmptyDataError) as error:
        raise DataError(f"{settings.path!r} cannot be read as CSV: {str(error).strip()}; mend it") from None
    return labelled(frame, settings.target, settings.columns, settings.path, first_line=2)


@SOURCES.implements(Parquet)
def parquet(settings: Parquet, data_root: Path | None) -> Labelled:
    """The rows of a Parquet file."""
    path = own_file(settings.path, data_root)
    needed("pandas", "a Parquet table")
    arrow = needed("pyarrow", "a Parquet table")
    reader = needed("pyarrow.parquet", "a Parquet table")
    try:
        # a file of repeated values is small however many there are: its own count is looked at first
        described = reader.read_metadata(path)
        bounded(8 * described.num_rows * described.num_columns, settings.path)
        wanted = None if settings.columns is None else [*settings.columns, settings.target]
        frame = reader.ParquetFile(path).read(columns=wanted).to_pandas()
    except (arrow.ArrowException, OSError) as error:
        raise DataError(f"{settings.path!r} cannot be read as Parquet: {error}; write it anew") from None
    return labelled(frame, settings.target, settings.columns, settings.path, first_line=1)


def labelled(
    frame: "pandas.DataFrame", target: str, columns: tuple[str, ...] | None, source: str, *, first_line: int
) -> Labelled:
    """Inputs (N, columns) float64; targets (N,): int64 for whole numbers, truth values and text, else float64.

    Text stands for classes, numbered in its alphabetical order. Rows are named counting from `first_line`.

    Raises:
        DataError: a column is missing, empty somewhere, or of no numbers.
    """
    names = [name for name in frame.columns if name != target] if columns is None else list(columns)
    for name in (target, *names):
        if name not in frame.columns:
            known = ", ".join(repr(str(each)) for each in frame.columns[:SHOWN_NAMES])
            raise DataError(f"{source!r} has no column {name!r}; it has {known}")
    if not names or not len(frame):
        raise DataError(f"{source!r} has no column beside {target!r}, or no row; there is nothing to learn from")
    bounded(4 * len(frame) * len(names), source)
    if target in names:
        raise DataError(f"{source!r}: the target {target!r} is among the columns to predict it from; leave it out")
    values = [_numbers(frame[name], str(name), source, first_line) for name in names]
    return Labelled(
        torch.from_numpy(numpy.stack(values, axis=1)), _targets(frame[target], target, source, first_line), outputs=0
    )


def _numbers(column: Any, name: str, source: str, first_line: int) -> Any:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    if not (is_numeric_dtype(column) or is_bool_dtype(column)):
        found = next((str(value) for value in column if isinstance(value, str)), str(column.dtype))
        raise DataError(
            f"column {name!r} of {source!r} holds no numbers (for example {found[:40]!r}); turn it into numbers, or "
            "name the columns to use in task.dataset.columns"
        )
    _refuse_missing(column, name, source, first_line)
    return column.to_numpy(dtype=numpy.float64)


def _targets(column: Any, name: str, source: str, first_line: int) -> torch.Tensor:
    from pandas.api.types import is_bool_dtype, is_float_dtype, is_integer_dtype

    _refuse_missing(column, name, source, first_line)
    if is_float_dtype(column):
        return torch.from_numpy(column.to_numpy(dtype=numpy.float64))
    if is_integer_dtype(column) or is_bool_dtype(column):
        return torch.from_numpy(column.to_numpy().astype(numpy.int64))
    _, numbers = numpy.unique(column.astype(str).to_numpy(dtype=object).astype(str), return_inverse=True)
    return torch.from_numpy(numbers.astype(numpy.int64))


def _refuse_missing(column: Any, name: str, source: str, first_line: int) -> None:
    missing = column.isna().to_numpy()
    if missing.any():
        raise DataError(
            f"column {name!r} of {source!r} has no value in row {first_line + int(missing.argmax())} "
            f"({int(missing.sum())} in all); fill them in, or leave those rows out"
        )
