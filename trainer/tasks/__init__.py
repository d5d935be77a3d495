"""What is learnt: a task joins the spec's data, model and loss, and says what is measured of them.

The loop knows only `Task`. Protocol of a step: `batches.batch(step)`, `loss(model, batch)` on each micro-batch, and at
its own cadence `validate(model, max_batches)`; `probe_batch(size)` once, for probes that look at fixed data.
"""

from pathlib import Path

import torch

from gyrostat.spec.run import RunSpec
from trainer.tasks import (  # noqa: F401  (each registers its task)
    classification,
    contrastive,
    denoising,
    gan,
    language_model,
    regression,
    segmentation,
    sequence_to_sequence,
    vae,
)
from trainer.tasks.task import TASKS, Task

__all__ = ["TASKS", "Task", "build"]


def build(spec: RunSpec, *, data_root: Path | None, device: torch.device) -> Task:
    """The spec's task, its data loaded and its model on `device`. `data_root` holds the user's own files.

    Raises:
        DataError: the data set cannot be had, or is too small for the spec.
    """
    task = TASKS.of(spec.task)(spec, data_root=data_root, device=device)
    task.complete()
    return task
