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


def pack(readings: Mapping[str, Tensor | Float32Array | float]) -> Packed:
    """One float32 vector of all readings, in their order but for those on a device, which come last.

    On CUDA the copy goes to pinned memory, behind the work already queued, and `fetch` waits for it. Values on other
    accelerators are copied at once. What is changed after this call does not reach the vector.
    """
    here = array("f")  # what is too large for float32 becomes infinite in it, without a warning
    there: dict[str, Tensor] = {}
    slices: dict[str, tuple[int, int]] = {}
    end = 0
    for name, value in readings.items():
        start = end
        if isinstance(value, np.ndarray):
            here.frombytes(value.tobytes())
        elif not isinstance(value, Tensor):
            here.append(value)
        elif not value.is_cpu:
            there[name] = value.detach()
            continue
        elif value.ndim == 0:
            here.append(value.item())  # many times faster than through numpy, and losses come in every step
        else:
            here.frombytes(value.detach().to(torch.float32).numpy().tobytes())
        end = len(here)
        slices[name] = (start, end)
    on_host = end
    for name, tensor in there.items():
        start, end = end, end + tensor.numel()
        slices[name] = (start, end)
    here.frombytes(bytes(4 * (end - on_host)))
    vector = np.frombuffer(here, dtype=np.float32)
    if not there:
        return Packed(slices, lambda: vector, _at_once, vector.nbytes)
    arrive, arrived = _copied(list(there.values()))

    def fetch() -> Float32Array:
        vector[on_host:] = arrive()
        return vector

    return Packed(slices, fetch, arrived, 2 * vector.nbytes - 4 * on_host)


def _at_once() -> bool:
    return True


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
