"""What watching costs, as the session reports it of itself: its share of time, and the memory that it holds."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn

from gyrostat.probes.schedule import WARM_UP
from gyrostat.probes.stopwatch import Stopwatch

REPORT_EVERY = 50
"""Steps between two reports of the overhead; memory is looked at more and more seldom."""


class Footprint:
    """Makes the readings `probe.*` every so many steps.

    Args:
        clock: runs while the session is at work.
        held: what the session keeps between steps: objects whose tensors are counted, and a number of bytes beside.
    """

    def __init__(self, clock: Stopwatch, held: Callable[[], tuple[Iterable[object], int]]) -> None:
        self._clock, self._held = clock, held
        self._next: int | None = None
        self._reports, self._steps = 0, 0

    def readings(self, step: int) -> dict[str, float]:
        """Of the time up to now; empty between two reports."""
        self._steps += 1
        if self._steps <= WARM_UP:
            self._clock.start_total()
        if self._next is None:
            self._next = step - step % REPORT_EVERY + REPORT_EVERY
        if self._next > step > self._next - 2 * REPORT_EVERY:
            return {}
        self._next = step - step % REPORT_EVERY + REPORT_EVERY
        self._reports += 1
        readings = {"probe.overhead": self._clock.share(), "probe.total_overhead": self._clock.total_share()}
        if not self._reports & (self._reports - 1):
            objects, beside = self._held()
            readings["probe.memory_bytes"] = float(held_bytes(objects) + beside)
        return readings


def held_bytes(objects: Iterable[object]) -> int:
    """Bytes of all tensors within `objects`, their attributes and containers, each memory once; not of modules."""
    storages: dict[int, int] = {}
    waiting: list[Any] = list(objects)
    seen: set[int] = set()
    while waiting:
        item = waiting.pop()
        if isinstance(item, Tensor):
            if not isinstance(item, nn.Parameter):
                memory = item.untyped_storage()
                storages[memory.data_ptr()] = memory.nbytes()
        elif id(item) in seen or isinstance(item, nn.Module):
            continue
        elif isinstance(item, dict):
            waiting += item.values()
        elif isinstance(item, list | tuple | set):
            waiting += item
        elif type(item).__module__.startswith("gyrostat.probes."):
            waiting += (value for name, value in vars(item).items() if name != "network")
        seen.add(id(item))
    return sum(storages.values())
