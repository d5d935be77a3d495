"""The command `gyrostat`: one module of this package is one subcommand, found by its being here.

A module has `HELP`, a sentence; `configure(parser)`, which adds its arguments; and `run(options)`, which calls one
function, prints what became of it, and returns the exit status. What is dear to import, torch above all, is imported
within `run`. Mistakes of the user are `ValueError`, `OSError` or `SpoolInUse`, told in one line, and so is what a
backend refuses (`ApiError`).
"""

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Callable, Sequence
from typing import Protocol, cast

from gyrostat.client import ApiError, Client
from gyrostat.stream.spool import SpoolInUse
from gyrostat.stream.transport import DEFAULT_SERVER, Permanent, Transient


class Command(Protocol):
    """What the module of a subcommand holds."""

    HELP: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a subcommand; returns its exit status, 2 for a mistake of the user."""
    options = parser().parse_args(arguments)
    try:
        return cast(int, options.run(options))
    except (ValueError, OSError, SpoolInUse, ApiError, Transient, Permanent) as error:
        print("\n".join([f"gyrostat: {error}", *getattr(error, "__notes__", ())]), file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if (extra := _EXTRAS.get(error.name or "")) is None:
            raise
        print(f"gyrostat: this needs {error.name}: pip install 'gyrostat[{extra}]'", file=sys.stderr)
        return 2


_EXTRAS = {"pyarrow": "transfer", "tensorboardX": "transfer", "torch": "attach"}
"""Package -> the extra that brings it."""


def parser() -> argparse.ArgumentParser:
    """Of all subcommands."""
    made = argparse.ArgumentParser(prog="gyrostat", description="Training health: what a training process can be asked")
    commands = made.add_subparsers(dest="command", required=True)
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        command = cast(Command, importlib.import_module(f"{__name__}.{name}"))
        subparser = commands.add_parser(name.rstrip("_"), help=command.HELP, description=command.HELP)
        command.configure(subparser)
        subparser.set_defaults(run=command.run)
    return made


def add_backend(parser: argparse.ArgumentParser, scope: str) -> None:
    """The arguments that say which backend, for `client_of`."""
    parser.add_argument("--server", help=f"address of the backend (default: GYROSTAT_SERVER, or {DEFAULT_SERVER})")
    parser.add_argument("--token", help=f"with scope {scope} (default: GYROSTAT_TOKEN)")


def client_of(options: argparse.Namespace) -> Client:
    """Of the backend that the arguments, or else the environment, name."""
    server = options.server or os.environ.get("GYROSTAT_SERVER") or DEFAULT_SERVER
    return Client(server, options.token or os.environ.get("GYROSTAT_TOKEN"))
