"""How much may wait to be written: beyond that, senders are told to come back, and memory stays bounded."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from app.errors import TooMany

MAX_BATCHES = 512
MAX_BYTES = 64 << 20
RETRY_SECONDS = 1.0


class Backlog:
    """Counts what waits, and its bytes; safe to use from any thread.

    Args:
        max_batches: so many may wait at once.
        max_bytes: of all together; a single one may be larger, when nothing else waits.
    """

    def __init__(self, *, max_batches: int = MAX_BATCHES, max_bytes: int = MAX_BYTES) -> None:
        self._max_batches, self._max_bytes = max_batches, max_bytes
        self._door = threading.Lock()
        self._batches = self._bytes = 0

    @property
    def waiting(self) -> tuple[int, int]:
        """Batches that wait now, and their bytes."""
        with self._door:
            return self._batches, self._bytes

    @contextmanager
    def held(self, size: int) -> Iterator[None]:
        """Room for `size` bytes, until the block ends.

        Raises:
            TooMany: there is none now.
        """
        with self._door:
            full = self._batches >= self._max_batches or (self._batches and self._bytes + size > self._max_bytes)
            if full:
                raise TooMany(
                    f"{self._batches} batches of {self._bytes} bytes wait to be stored, which is as many as may; "
                    "send this one again shortly",
                    retry_after=RETRY_SECONDS,
                )
            self._batches += 1
            self._bytes += size
        try:
            yield
        finally:
            with self._door:
                self._batches -= 1
                self._bytes -= size
