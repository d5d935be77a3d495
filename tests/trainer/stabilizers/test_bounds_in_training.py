"""Parametrizations, penalties and clipping as the training loop applies them."""

from typing import Any

import pytest
import torch
from torch import nn

from gyrostat.spec.parse import parse
from tests.trainer.recording import trained
from trainer import tasks
from trainer.checkpoints import CheckpointStore
from trainer.stabilizers import lipschitz

CPU = torch.device("cpu")
OPERATOR = {"kind": "spectral_norm", "norm": "operator"}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def document(**changes: Any) -> dict[str, Any]:
    plain = {
        "task": {"kind": "classification", "dataset": "digits"},
        "model": {"kind": "cnn", "depth": 2, "width": 4},
        "optimizer": {"kind": "sgd", "learning_rate": 0.1, "momentum": 0.9},
        "data": {"batch_size": 8, "limit": 100},
        "checkpoints": {"every": 2},
        "validation": {"max_batches": 1},
        "probes": {"budget": None, "curvature": {"batch_size": 8, "every": 2, "max_products": 2}},
        "steps": 4,
        "threads": 1,
    }
    return plain | changes


@pytest.mark.parametrize("parametrization", ["weight_norm", "spectral_norm", OPERATOR], ids=str)
def test_a_parametrized_training_resumes_bit_for_bit_with_all_probes_on(parametrization, tmp_path):
    given = document(parametrization=parametrization, init="lsuv")
    whole = trained(given, tmp_path)
    assert "probe_disabled" not in whole.kinds()
    assert {"conv", "output"} <= {name.rpartition(".")[2] for name in whole.layouts[-1].axes["module"]}
    rest = trained(given, tmp_path / "rest", start=CheckpointStore(tmp_path).load("r1", 2))
    losses = whole.scalars("loss.train")
    assert rest.scalars("loss.train") == {step: losses[step] for step in (3, 4)}


def test_under_spectral_normalization_every_layer_s_measured_norm_stays_near_1(tmp_path):
    given = document(parametrization={"kind": "spectral_norm", "power_iterations": 20})
    given["probes"] = {"budget": None, "spectral": {"every": 1}}
    for values in trained(given, tmp_path).frames.values():
        assert values["weight.spectral_norm"] == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("parametrization", [None, "weight_norm"])
def test_weights_are_within_the_bound_after_every_step(parametrization, tmp_path):
    given = document(parametrization=parametrization, lipschitz={"weight_clip": {"limit": 0.03}})
    task = tasks.build(parse(given).spec, data_root=None, device=CPU)
    layers = [layer for layer in task.model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    largest: list[float] = []
    trained(
        given,
        tmp_path,
        task=task,
        progress=lambda step: largest.append(max(layer.weight.abs().max().item() for layer in layers)),
    )
    assert len(largest) == 4
    assert max(largest) <= 0.03 * (1 + 1e-6)
    assert any(layer.bias.abs().max() > 0.03 for layer in layers)


@pytest.mark.parametrize(
    "model", [{"kind": "mlp", "depth": 1, "width": 8}, {"kind": "transformer", "layout": "encoder"}]
)
def test_the_training_loss_holds_the_penalty_and_validation_does_not(model):
    def built(**changes):
        return tasks.build(parse(document(model=model, **changes)).spec, data_root=None, device=CPU)

    plain, penalized = built(), built(lipschitz={"gradient_penalty": {"kind": "inputs", "weight": 2.0}})
    inputs, targets = plain.batch(0)
    flat = inputs.clone().requires_grad_()
    # sample by sample: the loss of one has no part in the gradient of another
    slopes = [
        torch.autograd.grad(plain.loss(plain.model, (x[None], y[None]))[0], x)[0]
        for x, y in zip(flat, targets, strict=True)
    ]
    expected = 2 * sum(slope.square().sum().item() for slope in slopes) / len(slopes)
    bare, whole = (task.loss(task.model, (inputs, targets))[0] for task in (plain, penalized))
    assert whole.item() - bare.item() == pytest.approx(expected, rel=1e-3)
    assert expected > 0
    parts = [penalized.loss(penalized.model, (inputs[at], targets[at]))[0] for at in (slice(0, 4), slice(4, 8))]
    assert sum(parts).item() / 2 == pytest.approx(whole.item(), rel=1e-5)
    whole.backward()
    assert all(p.grad.isfinite().all() for p in penalized.model.parameters())
    assert not inputs.requires_grad
    held_out = next(iter(plain.held_out()))
    assert torch.equal(
        penalized.evaluate(penalized.model, held_out)["loss"], plain.evaluate(plain.model, held_out)["loss"]
    )


@pytest.mark.parametrize(
    "parametrization", ["weight_norm", {"kind": "spectral_norm", "max_norm": 2.0}, OPERATOR], ids=str
)
def test_a_fork_that_turns_a_parametrization_on_keeps_its_parent_s_weights(parametrization, tmp_path):
    trained(document(), tmp_path)
    parent = CheckpointStore(tmp_path).load("r1", 4)
    fork = document(parametrization=parametrization, steps=5, optimizer={"kind": "sgd", "learning_rate": 1e-9})
    task = tasks.build(parse(fork).spec, data_root=None, device=CPU)
    recording = trained(fork, tmp_path / "fork", run="r2", start=parent, task=task)
    notes = [data["message"] for kind, _, data in recording.events if kind == "log"]
    assert not any("keeps its initial value" in note or "no place here" in note for note in notes)
    for name, layer in task.model.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            ours, theirs = layer.weight.detach().flatten(), parent.model[f"{name}.weight"].flatten()
            assert torch.cosine_similarity(ours, theirs, dim=0) > 1 - 1e-5
            if parametrization == "weight_norm":
                torch.testing.assert_close(ours, theirs)
            elif parametrization != OPERATOR:
                matrix = layer.weight.detach().flatten(1)
                assert torch.linalg.matrix_norm(matrix, 2).item() == pytest.approx(2, rel=0.01)


def test_of_an_adversarial_task_only_the_critic_is_clipped():
    given = document(
        task={"kind": "gan", "dataset": "gaussians"},
        model={"kind": "mlp", "depth": 1, "width": 8},
        lipschitz={"weight_clip": {"limit": 0.01}},
    )
    spec = parse(given).spec
    task = tasks.build(spec, data_root=None, device=CPU)
    lipschitz.clip_weights(spec.lipschitz.weight_clip, task.bounded)
    largest = {
        part: max(p.abs().max().item() for p in getattr(task.model, part).parameters() if p.ndim > 1)
        for part in ("critic", "generator")
    }
    assert largest["critic"] <= 0.01 < largest["generator"]
