"""What readers of the database have at hand, so that the same bytes are not parsed for every request."""

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from cachetools import Cache, LRUCache, TTLCache

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """What was used last, of things that never change; safe to use from any thread.

    Args:
        limit: sum of `size` over what is kept. size: of one thing; 1 by itself.
        seconds: for how long a thing is kept; None: until its room is needed.
    """

    def __init__(self, limit: int, size: Callable[[V], int] = lambda _: 1, *, seconds: float | None = None) -> None:
        self._kept: Cache[K, V] = (
            LRUCache(limit, getsizeof=size) if seconds is None else TTLCache(limit, seconds, getsizeof=size)
        )
        self._lock = threading.Lock()
        self._size = size
        self._limit = limit

    def get(self, key: K) -> V | None:
        """What was kept for the key, or None."""
        with self._lock:
            return self._kept.get(key)

    def put(self, key: K, value: V) -> None:
        """Keeps it in place of what was not used for longest; what alone is beyond the limit is not kept."""
        if self._size(value) <= self._limit:
            with self._lock:
                self._kept[key] = value
