"""The dashboard on a real server over a real SQLite database, with a client that asks for pages."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.storage.database import Database
from tests.app.control import served


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's folder."""
    return tmp_path_factory.mktemp("dashboard")


@pytest.fixture(scope="module")
def client(data: Path) -> Iterator[httpx.Client]:
    """Shared by a file's tests: each makes runs of its own."""
    with served(data) as (_, address), httpx.Client(base_url=address, timeout=20) as client:
        yield client


@pytest.fixture
def database(client: httpx.Client, data: Path) -> Iterator[Database]:
    """The same database, to put measurements in."""
    database = Database(f"sqlite:///{data / 'gyrostat.sqlite'}")
    yield database
    database.close()
