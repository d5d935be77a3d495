from tests.gyrostat.conftest import service

__all__ = ["service"]
