from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.service import Service
from tests.gyrostat.backend import Backend


@pytest.fixture
def absent_backend(tmp_path: Path) -> Iterator[Backend]:
    """A backend that is not running yet."""
    backend = Backend(tmp_path)
    yield backend
    backend.kill()


@pytest.fixture(scope="session")
def shared_backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    backend = Backend(tmp_path_factory.mktemp("backend"))
    backend.start()
    yield backend
    backend.kill()


@pytest.fixture
def backend(shared_backend: Backend) -> Backend:
    """A running backend that answers as it should; it is shared, so a test takes a run's name of its own."""
    shared_backend.answers()
    return shared_backend


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The real backend, in a process of its own, without a worker."""
    service = Service(tmp_path_factory.mktemp("service"))
    try:
        service.start_backend()
        yield service
    finally:
        service.close()
