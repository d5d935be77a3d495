"""`gyrostat export`: a run as a file."""

import argparse
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from gyrostat.client import Client
from gyrostat.commands import add_backend, client_of

HELP = "Write a run to a file: all of it as one archive, its values as Parquet or CSV, or a TensorBoard event file."


def configure(parser: argparse.ArgumentParser) -> None:
    """The run, the format, and where to write."""
    parser.add_argument("run_id", metavar="RUN", help="its id")
    parser.add_argument("--format", choices=FORMATS, default="archive", help="default: archive")
    parser.add_argument("--output", "-o", type=Path, metavar="FILE", help="default: a file of the run's name, here")
    add_backend(parser, "read")


def run(options: argparse.Namespace) -> int:
    """Writes it, and says where."""
    write, ending = FORMATS[options.format]
    path: Path = options.output or Path(f"{options.run_id}{ending}")
    # beside the file, and moved there when all has come: whoever sees the file has the whole of it
    with TemporaryDirectory(prefix=".gyrostat-", dir=path.parent) as folder:
        made = Path(folder) / path.name
        with client_of(options) as client:
            write(client, options.run_id, made)
            thinned_at = client.run(options.run_id)["thinned_at"]
        made.replace(path)
    print(f"{path}: {path.stat().st_size:,} bytes")
    if thinned_at:
        print(f"The backend keeps summaries of this run since {thinned_at[:10]}: a value is the last of several rows.")
    return 0


def _archive(client: Client, run: str, path: Path) -> None:
    from gyrostat.transfer import archive

    archive.write(client, run, path)


def _parquet(client: Client, run: str, path: Path) -> None:
    with path.open("wb") as file:
        client.export(run, file)


def _csv(client: Client, run: str, path: Path) -> None:
    with path.open("wb") as file:
        client.export(run, file, format="csv")


def _event_file(client: Client, run: str, path: Path) -> None:
    from gyrostat.transfer import recording, tensorboard

    with TemporaryDirectory(prefix="gyrostat-export-") as folder:
        points = Path(folder) / "points.parquet"
        _parquet(client, run, points)
        created = datetime.fromisoformat(client.run(run)["created_at"]).timestamp()
        with path.open("wb") as file:
            tensorboard.write(recording.parquet(points), file, created)


FORMATS: dict[str, tuple[Callable[[Client, str, Path], None], str]] = {
    "archive": (_archive, ".gyrostat.zip"),
    "parquet": (_parquet, ".parquet"),
    "csv": (_csv, ".csv"),
    "tensorboard": (_event_file, ".tfevents"),
}
"""How each is written, and how its file is called."""
