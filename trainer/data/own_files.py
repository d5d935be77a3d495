"""What every file of the user's own goes through: it stays under the data root, and within bounds."""

from importlib import import_module
from pathlib import Path
from types import ModuleType

from trainer.data.samples import DataError

LIMIT_BYTES = 2 * 2**30
"""Of one data set in memory, as float32 or as its file has it: 2 GiB."""


def confined(path: str, data_root: Path | None) -> Path:
    """`path` under the data root, links followed.

    Raises:
        DataError: there is no data root, or the path or a link on it leads out of it.
    """
    if data_root is None:
        raise DataError("this worker has no data root; set GYROSTAT_DATA_ROOT to the folder that holds your files")
    root = data_root.resolve()
    resolved = (root / path).resolve()
    if not resolved.is_relative_to(root):
        raise DataError(f"{path!r} leads out of the data root; put the file itself there")
    return resolved


def own_file(path: str, data_root: Path | None) -> Path:
    """The regular file `path` under the data root, of at most `LIMIT_BYTES`.

    Raises:
        DataError: as `confined`, or there is no such file, or it is too large.
    """
    found = confined(path, data_root)
    if not found.is_file():
        raise DataError(f"no file {path!r} under the data root; check the path")
    bounded(found.stat().st_size, path)
    return found


def own_folder(path: str, data_root: Path | None) -> Path:
    """The folder `path` under the data root.

    Raises:
        DataError: as `confined`, or there is no such folder.
    """
    found = confined(path, data_root)
    if not found.is_dir():
        raise DataError(f"no folder {path!r} under the data root; check the path")
    return found


def bounded(size: int, path: str) -> None:
    """Refuses what would take more than `LIMIT_BYTES` of memory.

    Raises:
        DataError: it would.
    """
    if size > LIMIT_BYTES:
        raise DataError(
            f"{path!r} would take {size / 2**30:,.1f} GiB of memory; at most {LIMIT_BYTES // 2**30} GiB are read: "
            "use a part of it, or smaller samples"
        )


def needed(package: str, purpose: str) -> ModuleType:
    """The package, imported where it is needed.

    Raises:
        DataError: this worker does not have it.
    """
    try:
        return import_module(package)
    except ImportError:
        raise DataError(f"this worker has no package {package!r}, which {purpose} needs; install it there") from None


def data_root_present(data_root: Path | None) -> bool:
    """Whether there is a data root to hold files."""
    return data_root is not None and data_root.is_dir()
