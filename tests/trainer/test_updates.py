"""The update ratio is of what really happened to the weights, whatever acts on them within a step."""

import numpy as np
import pytest
import torch

from gyrostat.spec.parse import parse
from gyrostat.spec.probes import PROBES
from gyrostat.wire.values import is_absent
from tests.trainer.recording import document, trained
from trainer import tasks

ALONE = {name: {"enabled": name == "weights", "every": 1} for name in PROBES}
CASES = {
    "clipped, with decay and momentum": {
        "optimizer": {"kind": "sgd", "momentum": 0.9, "weight_decay": 0.1},
        "gradients": {"clip": {"kind": "norm", "max_norm": 0.01}},
    },
    "decay beside the optimizer": {
        "optimizer": {"kind": "adam"},
        "regularization": {"weight_decay": {"kind": "decoupled", "rate": 1.0}},
    },
    "preconditioned": {"optimizer": {"kind": "adamw", "weight_decay": 0.5}},
    "schedule-free": {"optimizer": {"kind": "schedule_free"}},
    "sharpness-aware": {"optimizer": {"kind": "sam", "rho": 0.5}},
    "orthogonalized": {"optimizer": {"kind": "muon"}},
    "bounded": {"lipschitz": {"weight_clip": {"limit": 0.03}}},
    "noisy": {"noise": {"gradient": {"kind": "gradient", "eta": 1.0}}},
    "left out by a loss scale": {"precision": {"kind": "fp16", "initial_scale": 2.0**24}},
    "accumulated": {"accumulation": {"steps": 4}},
}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("case", CASES)
def test_the_update_ratio_is_that_of_the_weights_between_two_steps_in_float64(case, tmp_path):
    given = document("digits-mlp", model={"width": 16}, schedule="constant", steps=5, probes=ALONE, **CASES[case])
    given["probes"]["budget"] = None
    task = tasks.build(parse(given).spec, data_root=None, device=torch.device("cpu"))

    def weights():
        return {name: p.detach().double().numpy().copy() for name, p in task.model.named_parameters()}

    taken = [weights()]
    recording = trained(given, tmp_path, task=task, progress=lambda step: taken.append(weights()))
    moved = 0
    for step in range(1, 6):
        ratios = recording.frames[step]["update.ratio"]
        for ratio, (name, before) in zip(ratios, taken[step - 1].items(), strict=True):
            way = np.linalg.norm(taken[step][name] - before)
            if not before.any():
                assert is_absent(np.asarray(ratio))[()], name
            else:
                # float32 copies of the weights round their difference
                assert ratio == pytest.approx(way / np.linalg.norm(before), rel=1e-4, abs=1e-7), (step, name)
                moved += ratio > 0
    assert moved if case != "left out by a loss scale" else recording.scalars("precision.overflow")[1]
