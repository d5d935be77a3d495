"""All values of a frame as one flat vector, fetched from the device in one copy that nobody waits for."""

from array import array
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gyrostat.wire.values import Float32Array


class Packed(NamedTuple):
    """Where each metric lies in the vector, and how to get the vector.

    `fetch` may be called from another thread, and more than once; where `arrived` says True it does not wait.
    """

    slices: dict[str, tuple[int, int]]
    fetch: Callable[[], Float32Array]
    arrived: Callable[[], bool]
    num_bytes: int


def pack(readings: Mapping[str, Tensor | float]) -> Packed:
    """One float32 vector of all readings, in their order but for those on a device, which come last.

    On CUDA the copy goes to pinned memory, behind the work already queued, and `fetch` waits for it. Values on other
    accelerators are copied at once. What is changed after this call does not reach the vector.
    """
    for value in readings.values():
        if isinstance(value, Tensor) and (value.ndim or not value.is_cpu):
            break
    else:
        return _of_scalars(readings)
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
        return Packed(slices, lambda: vector, _at_once, vector.nbytes)
    arrive, arrived = _copied(there)

    def fetch() -> Float32Array:
        vector[on_host:] = arrive()
        return vector

    return Packed(slices, fetch, arrived, 2 * vector.nbytes - 4 * on_host)


def _of_scalars(readings: Mapping[str, Tensor | float]) -> Packed:
    """The frame of most steps: a few numbers that are on the host."""
    # what is too large for float32 becomes infinite, without a warning
    values = array("f", [value.item() if isinstance(value, Tensor) else value for value in readings.values()])
    vector = np.frombuffer(values, dtype=np.float32)
    return Packed({name: (at, at + 1) for at, name in enumerate(readings)}, lambda: vector, _at_once, vector.nbytes)


def _at_once() -> bool:
    return True


def _on_host(value: Tensor | float) -> Float32Array | float:
    if not isinstance(value, Tensor):
        return value
    if value.ndim == 0:
        return value.item()  # many times faster than through numpy, and losses come in every step
    plain = value if value.dtype == torch.float32 and not value.requires_grad else value.detach().to(torch.float32)
    array: Float32Array = plain.numpy()
    return array


def _copied(values: list[Tensor]) -> tuple[Callable[[], Float32Array], Callable[[], bool]]:
    device = values[0].device
    joined = torch.cat([value.reshape(-1).to(device, torch.float32, non_blocking=True) for value in values])
    if device.type != "cuda":
        copy = joined.cpu()
        return copy.numpy, _at_once
    pinned = torch.empty(joined.shape, dtype=torch.float32, pin_memory=True)
    pinned.copy_(joined, non_blocking=True)
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))

    def arrive() -> Float32Array:
        event.synchronize()
        found: Float32Array = pinned.numpy()
        return found

    return arrive, event.query
