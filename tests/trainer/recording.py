"""A sink in memory, and trainings that end in it."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from gyrostat.spec import presets
from gyrostat.spec.catalogue import merge_patch
from gyrostat.spec.parse import parse
from gyrostat.wire.layout import Layout
from gyrostat.wire.messages import EventKind
from gyrostat.wire.pending import PendingFrame
from trainer import loop, tasks
from trainer.checkpoints import Checkpoint, CheckpointStore
from trainer.control import Control


class Recording:
    """Implements the session's sink; keeps everything."""

    def __init__(self) -> None:
        self.frames: dict[int, dict[str, np.ndarray[Any, Any]]] = {}
        self.epochs: dict[int, float] = {}
        self.layouts: list[Layout] = []
        self.events: list[tuple[EventKind, int, dict[str, Any]]] = []

    def layout(self, layout: Layout) -> None:
        self.layouts.append(layout)

    def emit(self, frame: PendingFrame) -> None:
        assert frame.recalled or frame.step not in self.frames
        vector = frame.fetch()
        values = {name: vector[start:stop].copy() for name, (start, stop) in frame.slices.items()}
        # a recalled frame holds what the step's own left out
        assert self.frames.get(frame.step, {}).keys().isdisjoint(values)
        self.frames[frame.step] = self.frames.get(frame.step, {}) | values
        self.epochs[frame.step] = frame.epoch

    def event(self, kind: EventKind, step: int, data: dict[str, Any]) -> None:
        self.events.append((kind, step, data))

    def scalars(self, metric: str) -> dict[int, float]:
        return {step: float(values[metric][0]) for step, values in self.frames.items() if metric in values}

    def kinds(self) -> list[str]:
        return [kind for kind, _, _ in self.events]


def document(preset: str, **patch: Any) -> dict[str, Any]:
    """A preset's document with a few steps and one thread."""
    small = {"threads": 1, "steps": 24, "checkpoints": {"every": 10}, "validation": {"every": 8, "max_batches": 2}}
    whole = merge_patch(presets.PRESETS[preset].document, small)
    merged: dict[str, Any] = merge_patch(whole, patch)
    return merged


def trained(
    given: dict[str, Any],
    folder: Path,
    *,
    run: str = "r1",
    start: Checkpoint | None = None,
    control: Control | None = None,
    **more: Any,
) -> Recording:
    """Trains the spec in this process, to its end."""
    spec = parse(given).spec
    recording = Recording()
    task = more.pop("task", None) or tasks.build(spec, data_root=None, device=torch.device("cpu"))
    loop.train(
        spec,
        run=run,
        task=task,
        stream=recording,
        checkpoints=CheckpointStore(folder),
        control=control or Control(),
        start=start,
        **more,
    )
    return recording
