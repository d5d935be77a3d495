"""Copies an SQLite database while it is served: one moment of it, complete, in one file."""

import os
import sqlite3
from pathlib import Path


def backup(source: Path, target: Path) -> int:
    """Copies `source` to the new file `target` and tells its size in bytes; writers are not held up.

    The copy is made under another name, checked and synced to the disk, so that `target` is whole or is not there.

    Raises:
        FileNotFoundError: there is no database, or no folder to write to. FileExistsError: `target` is there already.
        RuntimeError: the copy is damaged. OSError, sqlite3.Error: it cannot be made.
    """
    if not source.is_file():
        raise FileNotFoundError(f"there is no database at {source}; give the data folder of a backend")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {target.parent}; make it first")
    if target.exists():
        raise FileExistsError(f"{target} is there already; give a new name")
    partial = target.with_name(target.name + ".partial")
    try:
        _copy(source, partial)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target.stat().st_size


def _copy(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    reader = sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True, timeout=10)
    writer = sqlite3.connect(target)
    try:
        # all pages in one step: one snapshot, which no writer makes it begin again
        reader.backup(writer, pages=-1)
        writer.execute("PRAGMA journal_mode=DELETE").fetchall()
        found = [row[0] for row in writer.execute("PRAGMA integrity_check")]
        if found != ["ok"]:
            raise RuntimeError(f"the copy is damaged, and so may be {source}: {found[:3]}")
    finally:
        writer.close()
        reader.close()
