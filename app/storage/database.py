"""The database: reads on their own snapshot, writes that return when they are durable, migrations."""

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Engine, NullPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, TimeoutError
from sqlalchemy.orm import Session

from app.storage import frames, migrate, reading, sqlite
from app.storage.backlog import Backlog
from app.storage.failures import is_worth_repeating, translate
from app.storage.recent import Recent
from app.storage.remembered import Charts, Remembered

__all__ = ["Database", "Session", "database_file"]

T = TypeVar("T")
MAX_LAYOUTS = 64
TRIES = 6
BATCHES_AT_ONCE = 8
"""Batches that are written to PostgreSQL at the same time; the other connections are for everybody else."""


class Database:
    """SQLite through one writer thread with group commit, or PostgreSQL through its own transactions.

    Args:
        url: `sqlite:///file` or `postgresql://user@host/name`.
        serving: take the lock by which one backend process serves an SQLite file (PostgreSQL needs none).
        on_commit: hears, after each commit, of how many writes it was and how many seconds it took.
        backlog: how many batches may wait to be stored.

    Raises:
        ValueError: the URL names another database, or no file.
        RuntimeError: another process serves the file.
    """

    def __init__(
        self,
        url: str,
        *,
        serving: bool = False,
        on_commit: Callable[[int, float], None] = lambda writes, seconds: None,
        backlog: Backlog | None = None,
    ) -> None:
        self._url = _parsed(url)
        self._on_commit = on_commit
        self.backlog = backlog or Backlog()
        self._threads = ThreadPoolExecutor(BATCHES_AT_ONCE, thread_name_prefix="gyrostat-batch")
        self._lock: sqlite.FileLock | None = None
        self._writer: sqlite.Writer | None = None
        self._glimpse: sqlite.Glimpse | None = None
        self._at_hand = {
            frames.LAYOUTS: Recent[Any, Any](MAX_LAYOUTS),
            reading.BLOCKS: Remembered(),
            reading.CHARTS: Charts(),
        }
        if self.is_sqlite:
            file = Path(self._url.database or "")
            file.parent.mkdir(parents=True, exist_ok=True)
            self._lock = sqlite.FileLock(file) if serving else None
            self._writer = sqlite.Writer(
                sqlite.make_engine(
                    self._url, begin="BEGIN IMMEDIATE", pragmas=("foreign_keys=ON",), pool_size=1, max_overflow=0
                ),
                on_commit,
            )
            self._glimpse = sqlite.Glimpse(file)
            self._reader = sqlite.make_engine(
                self._url, begin="BEGIN", pragmas=("query_only=ON",), pool_size=8, max_overflow=32, pool_timeout=10
            )
        else:
            self._engine = _postgresql_engine(self._url)
            self._reader = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file."""
        return self._url.get_backend_name() == "sqlite"

    @property
    def num_waiting(self) -> int:
        """Writes that wait for their turn; PostgreSQL has none, where each begins at once."""
        return 0 if self._writer is None else self._writer.num_waiting

    def revision_at_once(self, run_id: str) -> int | None:
        """A run's revision, as it is now; None where it cannot be told without waiting, or there is no such run.

        Called by the event loop's thread alone: a look into an SQLite file takes microseconds, a server is not asked.
        """
        return None if self._glimpse is None else self._glimpse.value("SELECT revision FROM run WHERE id = ?", run_id)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one consistent snapshot and cannot write.

        Raises:
            Unavailable: the database cannot be reached.
        """
        try:
            with Session(self._reader, expire_on_commit=False, info=self._at_hand) as session:
                yield session
        except (DBAPIError, TimeoutError) as error:
            raise translate(error) from error

    def write(self, work: Callable[[Session], T]) -> T:
        """Runs `work` in a transaction and returns its result when that is durably committed.

        `work` may run more than once (PostgreSQL may ask to repeat), so it must do nothing but use the session.
        What it raises takes all of its changes back and comes out here.

        Raises:
            Unavailable: the database cannot be reached; whether the work was committed is not known.
            StorageFull: nothing was stored.
        """
        if self._writer is not None:
            return self._writer.submit(work).result()
        for attempt in range(TRIES):
            began = time.perf_counter()
            try:
                with Session(self._engine, expire_on_commit=False) as session:
                    result = work(session)
                    session.commit()
                self._on_commit(1, time.perf_counter() - began)
                return result
            except (DBAPIError, TimeoutError) as error:
                if attempt + 1 < TRIES and isinstance(error, DBAPIError) and is_worth_repeating(error):
                    time.sleep(random.uniform(0.5, 1.5) * 0.01 * 2**attempt)  # noqa: S311 - no secret, only jitter
                    continue
                raise translate(error) from error
        raise AssertionError("the last try returns or raises")

    async def write_batch(self, work: Callable[[Session], T], size: int) -> T:
        """`write` for what many senders may send at once, `size` bytes of it; it blocks no thread of the caller.

        Raises:
            TooMany: as much as may waits already; nothing was stored.
        """
        with self.backlog.held(size):
            if self._writer is not None:
                return await asyncio.wrap_future(self._writer.submit(work))
            return await asyncio.get_running_loop().run_in_executor(self._threads, self.write, work)

    def migrate(self) -> None:
        """Brings the tables to the revision that this code needs; several processes may call it at once."""
        self._change(lambda connection: migrate.upgrade(connection))

    def downgrade(self, revision: str) -> None:
        """Goes back to an older revision; `base` drops everything."""
        self._change(lambda connection: migrate.downgrade(connection, revision))

    def differences(self) -> list[Any]:
        """What distinguishes the tables in the database from those in the code; empty when it is at `head`."""
        with self.read() as session:
            return migrate.differences(session.connection())

    def head(self) -> str:
        """The revision that this code needs."""
        return migrate.head()

    def current(self) -> str | None:
        """The revision that the database is at; None where it was never migrated."""
        with self.read() as session:
            return migrate.current(session.connection())

    def close(self) -> None:
        """Finishes the writes that were accepted and lets go of all connections."""
        self._threads.shutdown()
        if self._glimpse is not None:
            self._glimpse.close()
        if self._writer is not None:
            self._writer.close()
        self._reader.dispose()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _change(self, change: Callable[[Any], None]) -> None:
        engine = (
            sqlite.make_engine(self._url, begin="BEGIN IMMEDIATE", pragmas=("foreign_keys=OFF",), poolclass=NullPool)
            if self.is_sqlite
            else self._engine
        )
        try:
            with engine.begin() as connection:
                change(connection)
        except DBAPIError as error:
            raise translate(error) from error
        finally:
            if engine is not getattr(self, "_engine", None):
                engine.dispose()


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ValueError(
            "the database URL cannot be read; use sqlite:///file or postgresql://user@host/name"
        ) from error
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise ValueError(f"the database URL starts with {parsed.drivername!r}; only sqlite and postgresql (psycopg) do")
    if parsed.database in (None, "", ":memory:"):
        raise ValueError("an SQLite database must be a file: sqlite:///relative/file or sqlite:////absolute/file")
    return parsed.set(drivername="sqlite")


def database_file(url: str) -> Path:
    """The file of an SQLite database.

    Raises:
        ValueError: the URL names another one, or no file.
    """
    parsed = _parsed(url)
    if parsed.get_backend_name() != "sqlite":
        raise ValueError("the database is PostgreSQL and no file; copy it with pg_dump, see docs/operations.md")
    return Path(parsed.database or "")


def _postgresql_engine(url: URL) -> Engine:
    engine = create_engine(
        url, pool_pre_ping=True, pool_size=10, max_overflow=10, pool_timeout=10, connect_args={"connect_timeout": 10}
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, record: Any) -> None:
        # An acknowledgement promises durability, whatever the server's default is.
        connection.autocommit = True
        connection.execute("SET synchronous_commit = on")
        connection.autocommit = False

    return engine
