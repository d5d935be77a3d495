"""What may be asked of a running training, from other threads; the loop looks between two steps."""

import threading
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from gyrostat.wire.measurements import Order

Ending = Literal["stopped", "paused", "interrupted"]
"""How a training ends before its last step. `interrupted`: its worker was told to go; another attempt goes on."""


class Adjustment(BaseModel):
    """A live change. What is left out stays; null goes back to what the spec says."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)

    learning_rate_factor: float | None = Field(None, gt=0, le=1e6)
    """On top of the schedule."""
    clip_norm: float | None = Field(None, gt=0, le=1e12)
    """Largest global gradient norm, in place of the spec's."""
    tighten_probes: bool | None = None
    """True: the probes look closer for a while."""


class Control:
    """A mailbox of requests to one training.

    Attributes:
        ending: set once somebody wants the training to end. The first to ask is heeded, except that an interruption
            gives way to the wish of a person: a training that is to be stopped must not be started elsewhere.
        trouble: set when the backend sees trouble, so that the probes look closer; the loop takes it back.
    """

    def __init__(self) -> None:
        self.ending: Ending | None = None
        self.trouble = False
        self._lock = threading.Lock()
        self._adjustments: list[Adjustment] = []
        self._orders: list[Order] = []
        self._ordered: set[str] = set()

    def end(self, how: Ending) -> None:
        """Asks the training to write a checkpoint and end after the step that it is in."""
        with self._lock:
            if self.ending in (None, "interrupted"):
                self.ending = how

    def tighten(self) -> None:
        """Asks the probes to look closer for a while."""
        self.trouble = True

    def adjust(self, change: Adjustment) -> None:
        """Asks for a live change from the next step on."""
        with self._lock:
            self._adjustments.append(change)

    def adjustments(self) -> list[Adjustment]:
        """The changes asked for since the last call, in order."""
        if not self._adjustments:  # nearly every step: no lock
            return []
        with self._lock:
            taken, self._adjustments = self._adjustments, []
        return taken

    def measure(self, order: Order) -> None:
        """Asks for a measurement before the next step. One that was asked for already is not made again."""
        with self._lock:
            if order.id not in self._ordered:
                self._ordered.add(order.id)
                self._orders.append(order)

    def orders(self) -> list[Order]:
        """The measurements asked for since the last call, in order."""
        if not self._orders:
            return []
        with self._lock:
            taken, self._orders = self._orders, []
        return taken
