"""`gyrostat import`: runs out of files."""

import argparse
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gyrostat.commands import add_backend, client_of

if TYPE_CHECKING:
    from gyrostat.transfer.recording import Recording

HELP = "Make runs of archives, of Parquet files, and of folders of TensorBoard event files."


def configure(parser: argparse.ArgumentParser) -> None:
    """The files, and what the runs shall be called."""
    parser.add_argument(
        "paths",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="an archive (.zip) or Parquet file that `gyrostat export` made, a Parquet table with a column step and "
        "one a metric, or a folder of event files, in which each folder is a run",
    )
    parser.add_argument("--name", help="of the run (default: as in the archive, else of the file)")
    parser.add_argument("--project", help="default: as in the archive, else imported")
    add_backend(parser, "ingest and run")


def run(options: argparse.Namespace) -> int:
    """Makes a run of each, and prints its id."""
    from gyrostat.transfer import sending

    with client_of(options) as client:
        if missing := [str(path) for path in options.paths if not path.exists()]:
            raise FileNotFoundError(f"{', '.join(missing)}: there is no such file or folder; nothing was imported")
        for path in options.paths:
            for found in _found(path):
                with found as recording:
                    given = {key: getattr(options, key) for key in ("name", "project") if getattr(options, key)}
                    wanted = replace(recording, **given)
                    print(f"{sending.send(wanted, client)}  {wanted.name}", flush=True)
    return 0


def _found(path: Path) -> Iterator[AbstractContextManager["Recording"]]:
    from gyrostat.transfer import archive, recording, tensorboard

    if path.is_dir():
        for folder in tensorboard.folders(path):
            yield nullcontext(tensorboard.recording_of(folder, name=str(folder.relative_to(path.parent))))
    elif path.suffix == ".zip":
        yield archive.read(path)
    else:
        yield nullcontext(recording.of_parquet(path))
