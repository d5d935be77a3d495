"""Disks that can be filled: a small tmpfs where mounting is allowed."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

FILLER = "filler"


def can_mount() -> bool:
    """Whether a file system of one's own can be had here: that takes root."""
    return os.geteuid() == 0 and bool(shutil.which("mount") and shutil.which("unshare")) and _works()


def _works() -> bool:
    return (
        subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True).returncode
        == 0
    )


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of that size at `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=777", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Leaves no byte free."""
    with contextlib.suppress(OSError), (folder / FILLER).open("ab", buffering=0) as file:
        while True:
            file.write(b"\0" * 65536)


def free(folder: Path) -> None:
    """Gives back what `fill` took."""
    (folder / FILLER).unlink(missing_ok=True)
