"""Numbers that studies take of a trained net."""

import math

import torch

from benchmarks.claims import measures
from gyrostat.spec.presets import PRESETS
from trainer import tasks


def test_what_a_validation_tallies_by_bin_is_no_number_of_a_batch() -> None:
    task = tasks.build(PRESETS["digits-mlp"].spec, data_root=None, device=torch.device("cpu"))
    batch = task.batches.fixed(64)
    found = measures.evaluated(task, batch)
    with torch.no_grad():
        logits = task.model.eval()(batch[0])
    assert found["loss"] == torch.nn.functional.cross_entropy(logits, batch[1]).item()
    assert found["accuracy"] == (logits.argmax(1) == batch[1]).float().mean().item()
    assert all(math.isfinite(value) for value in found.values())
