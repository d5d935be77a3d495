"""How fast a training goes and what memory it holds, about once a second of its own time."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

SECONDS = 1.0

METRICS = (
    "throughput.samples_per_second",
    "throughput.step_seconds",
    "memory.resident_bytes",
    "memory.device_bytes",
)


class Pace:
    """Counts steps against wall time, less what was spent on anything but training."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._process = psutil.Process()
        self._since, self._steps, self._samples = time.perf_counter(), 0, 0

    def step(self, *, samples: int, last: bool) -> dict[str, float]:
        """A step of so many samples (0: unknown) is done; answers the metrics once a second, and at the `last` step."""
        self._steps += 1
        self._samples += samples
        elapsed = time.perf_counter() - self._since
        if elapsed < SECONDS and not last:
            return {}
        measured = {
            "throughput.step_seconds": elapsed / self._steps,
            "memory.resident_bytes": float(self._process.memory_info().rss),
        }
        if self._samples:
            measured["throughput.samples_per_second"] = self._samples / elapsed
        if self._device.type == "cuda":
            measured["memory.device_bytes"] = float(torch.cuda.max_memory_allocated(self._device))
        self._since, self._steps, self._samples = time.perf_counter(), 0, 0
        return measured

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Time spent inside does not count as training."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._since += time.perf_counter() - began
