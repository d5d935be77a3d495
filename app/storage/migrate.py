"""Brings a database to the newest revision of `migrations/`, in one transaction that holds or leaves nothing."""

from functools import cache
from pathlib import Path
from typing import Any

from alembic import autogenerate, command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from app.storage import channel_tables, tables
from app.storage.base import Base

FOLDER = Path(__file__).resolve().parents[2] / "migrations"

# Any number of ours: backends that start together must not migrate together.
_ADVISORY_LOCK = 7_239_114_902


@cache
def head() -> str:
    """The revision that this code needs."""
    revision = ScriptDirectory.from_config(configuration()).get_current_head()
    assert revision is not None, f"no migrations in {FOLDER}"
    return revision


def current(connection: Connection) -> str | None:
    """The revision that the database is at; None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Runs what is missing, on a connection whose transaction the caller commits."""
    _take_turn(connection)
    command.upgrade(configuration(connection), revision)
    _check_references(connection)


def downgrade(connection: Connection, revision: str) -> None:
    """Goes back to an older revision; `base` drops everything."""
    _take_turn(connection)
    command.downgrade(configuration(connection), revision)
    _check_references(connection)


def differences(connection: Connection) -> list[Any]:
    """What alembic would change to get from the database to the tables in the code; empty where they agree."""
    assert {tables.Run.__tablename__, channel_tables.Channel.__tablename__} <= set(Base.metadata.tables)
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(autogenerate.compare_metadata(context, Base.metadata))


def configuration(connection: Connection | None = None) -> Config:
    """Alembic's settings, without a file: the revisions of this program, on this connection."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("file_template", "%%(year)d_%%(month).2d_%%(day).2d_%%(slug)s")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _take_turn(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})


def _check_references(connection: Connection) -> None:
    # Foreign keys are off during a migration of SQLite (a rebuilt table would cascade), so they are checked after it.
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
        if broken:
            raise RuntimeError(f"the migration left rows that refer to nothing: {broken[:5]}; it was rolled back")
