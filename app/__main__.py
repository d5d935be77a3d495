"""`python -m app serve`, `python -m app migrate` and `python -m app backup`."""

import argparse
import errno
import logging
import os
import socket
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError

from app import logs
from app.allocation import keep_freed_memory
from app.deps import Clock, utc_now
from app.errors import AppError
from app.main import create_app
from app.settings import AppSettings, misspelt
from app.storage import backup
from app.storage.database import Database, database_file

_log = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 5
"""Longest that a shutdown waits for requests; streams and long polls are ended at once."""


class Server(uvicorn.Server):
    """Ends event streams, waiting claims and notifying before it waits for requests to end."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self.app = app

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        """Ends the service."""
        self.app.state.hub.close()
        self.app.state.notifier.close()
        await super().shutdown(sockets)


def make_server(settings: AppSettings, *, clock: Clock = utc_now) -> Server:
    """A server of the backend, not yet running; `clock` gives the time that states and leases go by."""
    app = create_app(settings, clock=clock)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="auto",
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        timeout_keep_alive=30,
    )
    return Server(config, app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        settings = AppSettings(**{name: value for name, value in _overrides(options).items() if value is not None})
    except ValidationError as error:
        return _refuse("; ".join(_told(detail) for detail in error.errors()))
    logs.configure(settings.log_format, settings.log_level)
    for warning in misspelt(os.environ):
        _log.warning("%s", warning)
    try:
        if options.command == "backup":
            return _backup(settings, options.file)
        return _serve(settings) if options.command == "serve" else _migrate(settings)
    except (AppError, ValueError, RuntimeError, OSError, sqlite3.Error) as error:
        return _refuse(getattr(error, "detail", None) or str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m app", description="Gyrostat's backend; GYROSTAT_* variables set the rest"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("serve", "serve the API and the dashboard"),
        ("migrate", "bring the database up to date"),
        ("backup", "copy an SQLite database, also while it is served"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--data", type=Path, help="folder of everything that is written")
        if name == "serve":
            command.add_argument("--host", help="address to listen on")
            command.add_argument("--port", type=int, help="port to listen on")
        if name == "backup":
            command.add_argument("file", type=Path, help="new file to write")
    return parser


def _overrides(options: argparse.Namespace) -> dict[str, Any]:
    return {name: value for name, value in vars(options).items() if name not in ("command", "file")}


def _told(detail: Any) -> str:
    message = str(detail["msg"]).removeprefix("Value error, ")
    field = ".".join(str(part) for part in detail["loc"])
    return f"GYROSTAT_{field.upper()}: {message}" if field else message


def _refuse(message: str) -> int:
    print(f"gyrostat: {message}", file=sys.stderr)
    return 2


def _serve(settings: AppSettings) -> int:
    keep_freed_memory()
    _check_port(settings.host, settings.port)
    _open_once(settings)
    server = make_server(settings)
    server.run()
    return 0 if server.started else 1


def _check_port(host: str, port: int) -> None:
    # so that a port that cannot be had is one line too, before the database is touched
    try:
        places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise OSError(f"{host} cannot be resolved: {error.strerror}") from None
    for family, kind, protocol, _, address in places:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
        except OSError as error:
            # whether it can do without one of several addresses is for the server to say
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                reason = os.strerror(error.errno).lower()
                raise OSError(f"port {port} of {host} cannot be listened on: {reason}") from None


def _open_once(settings: AppSettings) -> None:
    # so that a database that cannot be used is one line here, not a stack from inside the server's start
    settings.data.mkdir(parents=True, exist_ok=True)
    Database(settings.url, serving=True).close()


def _migrate(settings: AppSettings) -> int:
    settings.data.mkdir(parents=True, exist_ok=True)
    database = Database(settings.url)
    try:
        before = database.current()
        database.migrate()
        print(f"gyrostat: the database is at revision {database.head()} (it was at {before or 'none'})")
    finally:
        database.close()
    return 0


def _backup(settings: AppSettings, target: Path) -> int:
    size = backup.backup(database_file(settings.url), target)
    print(f"gyrostat: {target} has {size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
