"""Trains specs in a process of its own: `python -m tests.trainer.train_in_process < jobs.json`.

Each job is `{"document", "folder", "out", "at_most"}`: it goes on from the newest checkpoint up to step `at_most`
(null: from the beginning), and appends each frame's step and loss, in hexadecimal, to `out` as it is emitted.
"""

import json
import sys
from pathlib import Path

import torch

from gyrostat.spec.parse import parse
from gyrostat.wire.pending import PendingFrame
from tests.trainer.recording import Recording
from trainer import loop, tasks
from trainer.checkpoints import CheckpointStore
from trainer.control import Control


class Written(Recording):
    """Writes losses down at once, so that a killed process has told them."""

    def __init__(self, out: Path) -> None:
        super().__init__()
        self._file = out.open("a", buffering=1)

    def emit(self, frame: PendingFrame) -> None:
        super().emit(frame)
        self._file.write(f"{frame.step} {float(self.frames[frame.step]['loss.train'][0]).hex()}\n")


def read(out: Path) -> dict[int, str]:
    """Step -> loss, the last one told of each step; a half-written line is left out."""
    lines = out.read_text().splitlines(keepends=True) if out.exists() else []
    return {int(step): loss for step, loss in (line.split() for line in lines if line.endswith("\n"))}


def main() -> None:
    for job in json.load(sys.stdin):
        spec = parse(job["document"]).spec
        device = torch.device("cpu")
        loop.prepare(spec, device)
        store = CheckpointStore(Path(job["folder"]))
        start, _ = (None, []) if job["at_most"] is None else store.load_newest("r1", at_most=job["at_most"])
        loop.train(
            spec,
            run="r1",
            task=tasks.build(spec, data_root=None, device=device),
            stream=Written(Path(job["out"])),
            checkpoints=store,
            control=Control(),
            start=start,
        )


if __name__ == "__main__":
    main()
