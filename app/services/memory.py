"""Remembers what was answered of a run until the run changes, so that many viewers of one run cost as much as one."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

MAX_BYTES = 64 << 20


class Memory:
    """Bounded, safe to use from any thread; viewers that ask for the same at once wait for one answer."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._known: OrderedDict[Hashable, tuple[Hashable, bytes]] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()
        self._bytes = 0

    def get(self, key: Hashable, version: Hashable, make: Callable[[], bytes]) -> bytes:
        """What `make` gave for `key` at this `version`, made now if need be."""
        with self._lock:
            known = self._known.get(key)
            if known is not None and known[0] == version:
                self._known.move_to_end(key)
                return known[1]
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                known = self._known.get(key)
            if known is not None and known[0] == version:
                return known[1]
            try:
                made = make()
                self._keep(key, version, made)
            finally:
                with self._lock:
                    self._making.pop(key, None)
            return made

    def at_hand(self, key: Hashable, version: Hashable) -> bytes | None:
        """What `get` would give without making it."""
        with self._lock:
            known = self._known.get(key)
            return known[1] if known is not None and known[0] == version else None

    def _keep(self, key: Hashable, version: Hashable, made: bytes) -> None:
        with self._lock:
            old = self._known.pop(key, None)
            self._bytes += len(made) - (len(old[1]) if old else 0)
            self._known[key] = (version, made)
            while self._bytes > self._max_bytes and len(self._known) > 1:
                self._bytes -= len(self._known.popitem(last=False)[1][1])
