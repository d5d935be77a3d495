"""All values of a frame as one flat vector, fetched from the device in one copy that nobody waits for."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gyrostat.wire.values import Float32Array


class Packed(NamedTuple):
    """Where each metric lies in the vector, and how to get the vector; `fetch` may be called from another thread."""

    slices: dict[str, tuple[int, int]]
    fetch: Callable[[], Float32Array]


def pack(readings: Mapping[str, Tensor | float]) -> Packed:
    """One float32 vector of all readings, in their order but for those on a device, which come last.

    On CUDA the copy goes to pinned memory, behind the work already queued, and `fetch` waits for it. Values on other
    accelerators are copied at once. What is changed after this call does not reach the vector.
    """
    here = {
        name: value for name, value in readings.items() if not isinstance(value, Tensor) or value.device.type == "cpu"
    }
    there = {name: value for name, value in readings.items() if isinstance(value, Tensor) and name not in here}
    slices: dict[str, tuple[int, int]] = {}
    end = 0
    for name, value in [*here.items(), *there.items()]:
        start, end = end, end + (value.numel() if isinstance(value, Tensor) else 1)
        slices[name] = (start, end)
    vector = np.empty(end, dtype=np.float32)
    with np.errstate(over="ignore"):
        for name, value in here.items():
            vector[slice(*slices[name])] = (
                value.detach().to(torch.float32).numpy() if isinstance(value, Tensor) else value
            )
    if not there:
        return Packed(slices, lambda: vector)
    arrive = _copied([value.detach() for value in there.values()])

    def fetch() -> Float32Array:
        vector[end - sum(value.numel() for value in there.values()) :] = arrive()
        return vector

    return Packed(slices, fetch)


def _copied(values: list[Tensor]) -> Callable[[], Float32Array]:
    device = values[0].device
    joined = torch.cat([value.reshape(-1).to(device, torch.float32, non_blocking=True) for value in values])
    if device.type != "cuda":
        copy = joined.cpu()
        return copy.numpy
    pinned = torch.empty(joined.shape, dtype=torch.float32, pin_memory=True)
    pinned.copy_(joined, non_blocking=True)
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))

    def arrive() -> Float32Array:
        event.synchronize()
        found: Float32Array = pinned.numpy()
        return found

    return arrive
