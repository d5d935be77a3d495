"""What a database's failure means to whoever asked: try again, the disk is full, or a defect of ours."""

import sqlite3

import psycopg
from sqlalchemy.exc import DBAPIError, TimeoutError

from app.errors import AppError, StorageFull, Unavailable

# https://www.postgresql.org/docs/current/errcodes-appendix.html
SERIALIZATION_FAILURE, DEADLOCK_DETECTED = "40001", "40P01"
DISK_FULL, OUT_OF_RESOURCES = "53100", "53"
CONNECTION_EXCEPTION, OPERATOR_INTERVENTION = "08", "57P"

# https://www.sqlite.org/rescode.html: not now, but the same statement may do later
SQLITE_PASSING = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_PROTOCOL", "SQLITE_NOMEM")


def translate(error: BaseException) -> BaseException:
    """The application's error for a database failure that passes; anything else as it is."""
    if isinstance(error, TimeoutError):
        return Unavailable("All database connections are busy; try again shortly.", retry_after=1.0)
    if not isinstance(error, DBAPIError):
        return error
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        return _of_sqlite(cause) or error
    if isinstance(cause, psycopg.Error):
        return _of_postgresql(cause, lost=error.connection_invalidated) or error
    return error


def is_worth_repeating(error: DBAPIError) -> bool:
    """Whether PostgreSQL ended the transaction only because of another one."""
    return isinstance(error.orig, psycopg.Error) and error.orig.sqlstate in (SERIALIZATION_FAILURE, DEADLOCK_DETECTED)


def _of_sqlite(cause: sqlite3.Error) -> AppError | None:
    name: str = getattr(cause, "sqlite_errorname", "")
    if name.startswith("SQLITE_FULL"):
        return _full()
    if name.startswith(SQLITE_PASSING):
        return Unavailable(f"The database cannot be used right now ({name}: {cause}); try again.", retry_after=2.0)
    return None


def _of_postgresql(cause: psycopg.Error, *, lost: bool) -> AppError | None:
    state = cause.sqlstate
    if state == DISK_FULL:
        return _full()
    if state in (SERIALIZATION_FAILURE, DEADLOCK_DETECTED):
        return Unavailable("Too many writers change the same rows; try again.", retry_after=1.0)
    unreachable = isinstance(cause, psycopg.OperationalError) and state is None
    if lost or unreachable or (state or "").startswith((CONNECTION_EXCEPTION, OPERATOR_INTERVENTION, OUT_OF_RESOURCES)):
        return Unavailable("The database server cannot be reached; try again.", retry_after=2.0)
    return None


def _full() -> StorageFull:
    return StorageFull("The disk of the database is full; nothing was stored. Free some space.", retry_after=30.0)
