"""Tells time spent inside of something from time spent outside of it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import NamedTuple


class Lap(NamedTuple):
    """Seconds since the last lap."""

    inside: float
    outside: float


class Stopwatch:
    """A context manager whose inside is counted; entered again while it is inside, the outermost counts.

    Attributes:
        running: whether it is inside.
    """

    def __init__(self) -> None:
        self.running = False
        self._depth = 0
        self._entered = 0.0
        self._inside = 0.0
        self._lap: tuple[float, float] | None = None
        self._window: tuple[float, float] | None = None
        self._total: tuple[float, float] | None = None

    def __enter__(self) -> None:
        self._depth += 1
        if self._depth == 1:
            self.running = True
            self._entered = time.perf_counter()
            if self._window is None:
                self._window = (self._entered, 0.0)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if self._depth == 0:
            self.running = False
            self._inside += time.perf_counter() - self._entered

    def add(self, seconds: float) -> None:
        """So much of the time that was taken for outside was inside."""
        self._inside += seconds

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Time spent in this counts as neither inside nor outside. Not to be entered inside."""
        began = time.perf_counter()
        try:
            yield
        finally:
            gone = time.perf_counter() - began
            self._lap, self._window = _later(self._lap, gone), _later(self._window, gone)
            self._total = _later(self._total, gone)

    def lap(self) -> Lap | None:
        """Times from the last call to this one; None at the first. To be called right after entering."""
        last, self._lap = self._lap, (self._entered, self._inside)
        if last is None:
            return None
        inside = self._inside - last[1]
        return Lap(inside, self._entered - last[0] - inside)

    def start_total(self) -> None:
        """`total_share` counts from here."""
        self._total = (time.perf_counter(), self._so_far())

    def total_share(self) -> float:
        """Share of wall time inside since `start_total`; 0 without it."""
        now = time.perf_counter()
        begun, before = self._total or (now, 0.0)
        return (self._so_far() - before) / (now - begun) if now > begun else 0.0

    def _so_far(self) -> float:
        return self._inside + (time.perf_counter() - self._entered if self._depth else 0.0)

    def share(self) -> float:
        """Share of wall time inside since the last call, or since the first entry."""
        now, inside = time.perf_counter(), self._so_far()
        begun, before = self._window or (now, inside)
        self._window = (now, inside)
        return (inside - before) / (now - begun) if now > begun else 0.0


def _later(mark: tuple[float, float] | None, seconds: float) -> tuple[float, float] | None:
    return None if mark is None else (mark[0] + seconds, mark[1])
