"""What an attached training has left in its folder, read as the backend would."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gyrostat.stream.segments import Kind
from gyrostat.stream.spool import Spool
from gyrostat.wire import codec
from gyrostat.wire.layout import Layout
from gyrostat.wire.messages import EventsMessage, LayoutMessage

OF_THE_PROCESS = ("probe.", "throughput.", "memory.")
"""Families whose values are never the same twice."""


@dataclass
class Left:
    frames: dict[int, dict[str, np.ndarray]] = field(default_factory=dict)
    epochs: dict[int, float] = field(default_factory=dict)
    layouts: list[Layout] = field(default_factory=list)
    events: list[tuple[str, int, dict[str, Any]]] = field(default_factory=list)

    def scalars(self, metric: str) -> dict[int, float]:
        return {step: float(found[metric][0]) for step, found in self.frames.items() if metric in found}

    def logged(self) -> list[str]:
        return [data["message"] for kind, _, data in self.events if kind == "log"]


def left_in(folder: Path | None) -> Left:
    assert folder is not None
    left, spool = Left(), Spool(folder)
    for record in spool.unsent():
        if record.kind is Kind.LAYOUT:
            left.layouts.append(LayoutMessage.model_validate_json(record.payload).layout)
        elif record.kind is Kind.EVENTS:
            told = EventsMessage.model_validate_json(record.payload).events
            left.events += [(event.kind, event.step, dict(event.data)) for event in told]
        else:
            batch = codec.decode_msgpack(record.payload)
            for row, step in enumerate(batch.steps):
                left.epochs[int(step)] = float(batch.epochs[row])
                frame = left.frames.setdefault(int(step), {})  # the flight recorder sends more of a step later
                found = {
                    column.metric: column.values[list(column.rows).index(row)]
                    for column in batch.columns
                    if row in column.rows
                }
                assert not frame.keys() & found.keys()
                frame |= found
    spool.close()
    return left


def measured(frame: dict[str, np.ndarray]) -> dict[str, bytes]:
    """What was measured at a step, to the last bit, but for what the process itself is."""
    return {name: values.tobytes() for name, values in frame.items() if not name.startswith(OF_THE_PROCESS)}
