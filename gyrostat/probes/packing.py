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
    here: list[tuple[slice, Tensor | float]] = []
    there: list[Tensor] = []
    slices: dict[str, tuple[int, int]] = {}
    end = 0
    for name, value in readings.items():
        if isinstance(value, Tensor) and not value.is_cpu:
            there.append(value.detach())
            continue
        start, end = end, end + (value.numel() if isinstance(value, Tensor) else 1)
        slices[name] = (start, end)
        here.append((slice(start, end), value))
    on_host = end
    for name, value in readings.items():
        if isinstance(value, Tensor) and not value.is_cpu:
            start, end = end, end + value.numel()
            slices[name] = (start, end)
    vector = np.empty(end, dtype=np.float32)
    with np.errstate(over="ignore"):
        for place, value in here:
            vector[place] = _on_host(value)
    if not there:
        return Packed(slices, lambda: vector)
    arrive = _copied(there)

    def fetch() -> Float32Array:
        vector[on_host:] = arrive()
        return vector

    return Packed(slices, fetch)


def _on_host(value: Tensor | float) -> Float32Array | float:
    if not isinstance(value, Tensor):
        return value
    if value.ndim == 0:
        return value.item()  # many times faster than through numpy, and losses come in every step
    array: Float32Array = value.detach().to(torch.float32).numpy()
    return array


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
