"""A frame on its way out of the training loop: its values may still be on the device."""

from collections.abc import Callable
from dataclasses import dataclass

from gyrostat.wire.values import Float32Array


@dataclass(frozen=True, eq=False, kw_only=True)
class PendingFrame:
    """What was measured at one step, as one flat vector that is fetched later, off the training thread.

    Attributes:
        step, time, epoch: optimizer step (the first is 1), seconds since 1970 UTC, fractional epoch.
        layout: version of the layout that `slices` follow.
        slices: metric -> (start, stop) within the vector; a scalar has length 1.
        fetch: waits for the device-to-host copy and gives the vector; called by the sending thread.
        recalled: whether it is of a step before what was sent last: the flight recorder kept it, and only with metrics
            that its step's own frame did not hold.
    """

    step: int
    time: float
    epoch: float
    layout: int
    slices: dict[str, tuple[int, int]]
    fetch: Callable[[], Float32Array]
    recalled: bool = False
