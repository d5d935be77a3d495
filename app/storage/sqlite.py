"""SQLite as a server's database: engines for one writer and many readers, group commit, one process a file."""

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.errors import Unavailable
from app.storage.failures import translate

T = TypeVar("T")

BUSY_MILLISECONDS = 10_000
MAX_WORKS_A_COMMIT = 128


def make_engine(url: URL, *, begin: str, pragmas: tuple[str, ...] = (), **options: Any) -> Engine:
    """An engine whose transactions start with `begin`.

    The driver's own transaction control begins too late and commits before DDL, so it is switched off
    (isolation_level None) and SQLAlchemy's begin says it explicitly.
    """
    engine = create_engine(url, connect_args={"timeout": BUSY_MILLISECONDS / 1000}, **options)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, record: Any) -> None:
        connection.isolation_level = None
        # how a file frees pages is settled before it has any
        for pragma in ("auto_vacuum=INCREMENTAL", "journal_mode=WAL", "synchronous=FULL", *pragmas):
            connection.execute(f"PRAGMA {pragma}").fetchall()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if begin == "BEGIN":  # cannot fail, and every read does it: not by a statement's whole way
            connection.connection.driver_connection.execute(begin)  # type: ignore[union-attr]
        else:
            connection.exec_driver_sql(begin)

    return engine


class Glimpse:
    """Looks up one value at a time, in less time than it takes to have another thread do it: for the event loop's.

    Readers of a WAL never wait for a writer, and this one waits for nothing else either. Used by one thread at a time.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._connection: sqlite3.Connection | None = None

    def value(self, statement: str, *parameters: object) -> Any:
        """The first column of the first row; None where there is none, or it cannot be told at once."""
        try:
            if self._connection is None:
                self._connection = sqlite3.connect(self._file, timeout=0, isolation_level=None, check_same_thread=False)
                self._connection.execute("PRAGMA query_only=ON")
            row = self._connection.execute(statement, parameters).fetchone()
        except sqlite3.Error:  # who asks then goes the usual way, which tells what is wrong
            return None
        return None if row is None else row[0]

    def close(self) -> None:
        """Lets go of the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class FileLock:
    """Held by the one backend process that serves an SQLite file; the system frees it however the process ends."""

    def __init__(self, database: Path) -> None:
        path = database.with_name(database.name + ".lock")
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(self._file, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise RuntimeError(
                f"{database} is already served by another backend (process {owner}); stop that one, choose another "
                "data folder, or use PostgreSQL, which several backends can share"
            ) from error
        os.ftruncate(self._file, 0)
        os.write(self._file, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Lets another process serve the file."""
        os.close(self._file)


class _Work(NamedTuple):
    run: Callable[[Session], Any]
    outcome: Future[Any]


class Writer:
    """One thread that commits whatever is waiting together, so that many writers share one sync of the disk.

    Every work runs inside its own savepoint: one that raises takes back its own changes and no others'.
    A work's caller hears of it after the commit, which is after the sync. `on_commit` hears, after each, of how many
    works it was and how many seconds it took.
    """

    def __init__(self, engine: Engine, on_commit: Callable[[int, float], None] = lambda works, seconds: None) -> None:
        self._engine = engine
        self._on_commit = on_commit
        self._waiting: SimpleQueue[_Work | None] = SimpleQueue()
        self._door = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, work: Callable[[Session], T]) -> Future[T]:
        """Has `work` run in the next transaction; the result is there once that is on the disk."""
        if threading.current_thread() is self._thread:
            raise RuntimeError("write was called inside another write; pass the session on instead")
        outcome: Future[T] = Future()
        with self._door:
            if self._closed:
                raise Unavailable("The database is closed: the backend is shutting down.", retry_after=2.0)
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="gyrostat-writer", daemon=True)
                self._thread.start()
            self._waiting.put(_Work(work, outcome))
        return outcome

    @property
    def num_waiting(self) -> int:
        """Works that no transaction has begun with."""
        return self._waiting.qsize()

    def close(self) -> None:
        """Finishes what is waiting and ends the thread."""
        with self._door:
            self._closed = True
            self._waiting.put(None)
        if self._thread is not None:
            self._thread.join()
        self._engine.dispose()

    def _serve(self) -> None:
        while (first := self._waiting.get()) is not None:
            works, last = self._take_waiting(first)
            self._commit_together(works)
            if last:
                return

    def _take_waiting(self, first: _Work) -> tuple[list[_Work], bool]:
        works = [first]
        while len(works) < MAX_WORKS_A_COMMIT:
            try:
                work = self._waiting.get_nowait()
            except Empty:
                break
            if work is None:
                return works, True
            works.append(work)
        return works, False

    def _commit_together(self, taken: list[_Work]) -> None:
        # whoever waits may have gone away; from here on it cannot, so every outcome can be set
        works = [work for work in taken if work.outcome.set_running_or_notify_cancel()]
        results: list[tuple[_Work, Any]] = []
        failed: list[tuple[_Work, BaseException]] = []
        began = time.perf_counter()
        try:
            with self._engine.begin() as connection:
                for work in works:
                    try:
                        results.append((work, _run_in_savepoint(work.run, connection)))
                    except BaseException as error:
                        _check_still_open(connection, error)
                        failed.append((work, translate(error)))
        except BaseException as error:
            failed = [(work, translate(error)) for work in works]
            results = []
            # A connection that failed to commit is not trusted again.
            self._engine.dispose()
        else:
            self._on_commit(len(results), time.perf_counter() - began)
        for work, result in results:
            work.outcome.set_result(result)
        for work, failure in failed:
            work.outcome.set_exception(failure)


def _run_in_savepoint(work: Callable[[Session], T], connection: Connection) -> T:
    with Session(connection, join_transaction_mode="create_savepoint", expire_on_commit=False) as session:
        result = work(session)
        session.commit()
        return result


def _check_still_open(connection: Connection, error: BaseException) -> None:
    # A full disk, among others, makes SQLite roll back everything, the other works included: then all of them fail,
    # and with the first error; the later ones only say that there is no savepoint left to go back to.
    if not getattr(connection.connection.driver_connection, "in_transaction", False):
        first = error
        while first.__context__ is not None:
            first = first.__context__
            if isinstance(first, DBAPIError):
                error = first
        raise error
