"""Fixtures of the whole suite: a fresh, migrated database of each kind."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Two cores are shared by the tests, their servers and their workers.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from app.storage.database import Database
from tests.databases import NoServer, database_on, make_template, postgresql_server

# A busy machine is no failure; many examples are worth little more than some.
settings.register_profile("suite", deadline=None, max_examples=50)
settings.load_profile("suite")


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """A server on which `tests.databases.database_on` makes databases, with the migrated template on it."""
    server = postgresql_server()
    try:
        url = server.__enter__()
    except NoServer as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must test on PostgreSQL: {error}")
        pytest.skip(f"no PostgreSQL here: {error}")
    try:
        make_template(url)
        yield url
    finally:
        server.__exit__(None, None, None)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, which tests copy."""
    file = tmp_path_factory.mktemp("template") / "gyrostat.sqlite"
    database = Database(f"sqlite:///{file}")
    database.migrate()
    database.close()
    return file


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a fresh, migrated database, once of each kind."""
    if request.param == "sqlite":
        file = tmp_path / "gyrostat.sqlite"
        shutil.copy(request.getfixturevalue("sqlite_template"), file)
        yield f"sqlite:///{file}"
        return
    with database_on(request.getfixturevalue("postgresql_url")) as url:
        yield url


@pytest.fixture
def postgresql_database_url(postgresql_url: str) -> Iterator[str]:
    """URL of a fresh, migrated database on a server, for what a file cannot do."""
    with database_on(postgresql_url) as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A fresh, migrated database, once of each kind."""
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def either(database_url: str) -> Iterator[Database]:
    """The same, where `database` is one kind alone for most tests of a file."""
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def sqlite_database(tmp_path: Path, sqlite_template: Path) -> Iterator[Database]:
    """A fresh, migrated SQLite database, for tests where the kind of database makes no difference."""
    file = tmp_path / "only.sqlite"
    shutil.copy(sqlite_template, file)
    database = Database(f"sqlite:///{file}")
    yield database
    database.close()
