"""Layouts and frames for the tests of the stream."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from gyrostat.stream.segments import Kind, Record
from gyrostat.wire.layout import Layout
from gyrostat.wire.messages import Acknowledgement
from gyrostat.wire.pending import PendingFrame
from gyrostat.wire.values import Float32Array


def layout(version: int = 1, width: int = 3) -> Layout:
    return Layout.model_validate(
        {
            "version": version,
            "axes": {"parameter": [f"layer{i}.weight" for i in range(width)]},
            "metrics": [
                {"name": "loss.train", "unit": "1", "axis": "run"},
                {"name": "gradient.norm", "unit": "1", "axis": "parameter"},
            ],
        }
    )


def frame(step: int, *, width: int = 3, version: int = 1, **changes: Any) -> PendingFrame:
    """Loss and one norm a layer, which tell the step; every third frame holds the loss alone."""
    vector = np.concatenate([[step / 2], step + np.arange(width)]).astype(np.float32)
    slices = {"loss.train": (0, 1)}
    if step % 3:
        slices["gradient.norm"] = (1, 1 + width)
    given: dict[str, Any] = {
        "step": step,
        "time": time.time(),
        "epoch": step / 100,
        "layout": version,
        "slices": slices,
        "fetch": lambda: vector,
    }
    return PendingFrame(**(given | changes))


def points(steps: range, width: int = 3) -> int:
    return sum(1 + (width if step % 3 else 0) for step in steps)


class Refusing:
    """A transport to nowhere: there is no network in tests of what happens on disk."""

    def __init__(self, refusal: Callable[[], Exception]) -> None:
        self._refusal = refusal

    def send(self, run: str, record: Record) -> Acknowledgement:
        raise self._refusal()

    def close(self) -> None:
        pass


def fetch_nothing() -> Float32Array:
    raise RuntimeError("the device is gone")


FRAMES = Kind.FRAMES
