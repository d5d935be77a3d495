"""Tasks that learn to make samples: batches are pure, pieces add up, players keep to themselves, samples are shown."""

import base64
import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gyrostat.spec.parse import parse
from gyrostat.spec.run import RunSpec
from gyrostat.wire import png
from tests.trainer.recording import Recording, trained
from tests.trainer.tasks.training import CPU
from trainer import tasks
from trainer.checkpoints import CheckpointStore
from trainer.models.adversarial import Adversarial
from trainer.stabilizers.systems import micro_batches
from trainer.tasks.gan import GanTask

SMALL = {"kind": "mlp", "depth": 1, "width": 8, "activation": "gelu"}
TASKS: dict[str, dict[str, Any]] = {
    "denoising": {"task": {"kind": "denoising", "dataset": "digits"}, "model": SMALL},
    "unet": {
        "task": {"kind": "denoising", "dataset": "digits", "noise_schedule": {"kind": "linear", "timesteps": 20}},
        "model": {"kind": "unet", "depth": 2, "stages": 2, "width": 4, "norm": None},
    },
    "vae": {"task": {"kind": "vae", "dataset": "digits", "latent": 3, "decoder": SMALL}, "model": SMALL},
    "gan": {
        "task": {"kind": "gan", "dataset": "digits", "latent": 3, "critic_steps": 2, "generator": SMALL},
        "model": SMALL,
        "lipschitz": {"gradient_penalty": "one_centred"},
    },
    "spectral gan": {
        "task": {"kind": "gan", "dataset": "digits", "generator": SMALL, "objective": "non_saturating"},
        "model": {"kind": "cnn", "depth": 2, "stages": 2, "width": 4},
        "parametrization": "spectral_norm",
    },
}
every_task = pytest.mark.parametrize("name", TASKS)


def document(name: str, **changes: Any) -> dict[str, Any]:
    return {
        **TASKS[name],
        "data": {"batch_size": 12, "limit": 100},
        "optimizer": {"kind": "adamw", "learning_rate": 0.01},
        "validation": {"every": 4},
        "checkpoints": {"every": 4},
        "threads": 1,
        "steps": 8,
        **changes,
    }


def spec_of(name: str, **changes: Any) -> RunSpec:
    return parse(document(name, **changes)).spec


def built(name: str, **changes: Any) -> tasks.Task:
    return tasks.build(spec_of(name, **changes), data_root=None, device=CPU)


def pictures(recording: Recording) -> dict[int, bytes]:
    shown = [(step, data["png"]) for kind, step, data in recording.events if kind == "samples"]
    return {step: base64.b64decode(data) for step, data in shown}


@every_task
def test_a_batch_is_a_function_of_seed_and_step(name: str) -> None:
    task, again = built(name), built(name)
    torch.manual_seed(99)
    for step in (3, 0, 3):
        for one, other in zip(task.batch(step), again.batch(step), strict=True):
            assert torch.equal(one, other)
    assert not torch.equal(task.batch(1)[-1], task.batch(3)[-1])
    assert not torch.equal(task.batch(1)[-1], built(name, seed=1).batch(1)[-1])


@every_task
def test_the_gradients_of_micro_batches_add_up_to_that_of_the_whole_batch(name: str) -> None:
    task = built(name, accumulation={"steps": 4})
    task.model.double().eval()  # a critic's power iterations rest
    batch = tuple(part.double() if part.is_floating_point() else part for part in task.batch(1))
    parameters = list(task.model.parameters())
    whole = torch.autograd.grad(task.loss(task.model, batch)[0], parameters)
    total = [torch.zeros_like(parameter) for parameter in parameters]
    for part, weight in micro_batches(task.spec.accumulation, batch):
        for sum_, gradient in zip(total, torch.autograd.grad(task.loss(task.model, part)[0], parameters), strict=True):
            sum_ += weight * gradient
    for one, other in zip(whole, total, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


@every_task
def test_it_trains_shows_samples_and_resumes_bit_for_bit(name: str, tmp_path: Any) -> None:
    given = document(name)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    whole = trained(given, tmp_path / "whole")
    start = CheckpointStore(tmp_path / "whole").load("r1", 4)
    rest = trained(given, tmp_path / "rest", start=start)
    torch.set_num_threads(before)
    losses = whole.scalars("loss.train")
    assert {step: loss for step, loss in losses.items() if step > 4} == rest.scalars("loss.train")
    assert all(np.isfinite(loss) for loss in losses.values())
    assert set(pictures(whole)) == {4, 8}
    assert pictures(whole)[8] == pictures(rest)[8]
    with Image.open(io.BytesIO(pictures(whole)[8])) as shown:
        assert shown.size == png.size_of(pictures(whole)[8]) == (53, 53)


@every_task
def test_showing_samples_changes_nothing(name: str) -> None:
    task = built(name, regularization={"dropout": "element"})
    state = {key: value.clone() for key, value in task.model.state_dict().items()}
    random = torch.get_rng_state()
    first, second = task.samples(task.model), task.samples(task.model)
    assert first is not None
    assert second is not None
    assert np.array_equal(first.pixels, second.pixels)
    assert torch.equal(torch.get_rng_state(), random)
    assert task.model.training
    for key, value in task.model.state_dict().items():
        assert torch.equal(value, state[key]), key


@every_task
def test_it_computes_under_bf16_autocast(name: str) -> None:
    task = built(name)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = task.loss(task.model, task.batch(1))
        validated = task.validate(task.model)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(validated["loss.validation"])
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in task.model.parameters())


def test_data_reaches_from_minus_one_to_one() -> None:
    task = built("vae")
    samples = task.probe_batch(1000)[0]
    assert float(samples.min()) == -1.0
    assert float(samples.max()) == 1.0


def test_the_vae_counts_its_divergence_by_beta_and_reports_it_without() -> None:
    task = built("vae", task={**TASKS["vae"]["task"], "kl": {"kind": "vae", "beta": 0.25}})
    loss, measured = task.loss(task.model, task.batch(0))
    assert loss.item() == pytest.approx(float(measured["reconstruction.train"] + 0.25 * measured["kl.train"]))


def _gan(**changes: Any) -> tuple[GanTask, Adversarial]:
    task = built("gan", **changes)
    assert isinstance(task, GanTask)
    assert isinstance(task.model, Adversarial)
    return task, task.model


def test_neither_players_loss_moves_the_other() -> None:
    task, model = _gan(lipschitz={})
    data, _, latent, own = batch = task.batch(1)
    task.loss(model, batch)[0].backward()
    critic, maker = list(model.critic.parameters()), list(model.generator.parameters())
    samples = model(latent).detach()
    expected = torch.autograd.grad(model.scores(samples).mean() - model.scores(data).mean(), critic)
    for parameter, gradient in zip(critic, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    expected = torch.autograd.grad(-model.scores(model(own)).mean(), maker)
    for parameter, gradient in zip(maker, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_the_generator_keeps_still_but_at_every_nth_step(tmp_path: Any) -> None:
    task, model = _gan()
    assert [len(task.batch(step)) for step in range(4)] == [3, 4, 3, 4]
    task.loss(model, task.batch(0))[0].backward()
    assert all(parameter.grad is None for parameter in model.generator.parameters())
    assert all(parameter.grad is not None for parameter in model.critic.parameters())
    recording = trained(document("gan"), tmp_path)
    assert set(recording.scalars("gan.generator")) == {2, 4, 6, 8}
    assert set(recording.scalars("gan.critic")) == set(range(1, 9))


def test_lipschitz_control_acts_on_the_critic_alone(tmp_path: Any) -> None:
    _, model = _gan(parametrization="spectral_norm")
    assert any("parametrizations" in name for name, _ in model.critic.named_parameters())
    assert not any("parametrizations" in name for name, _ in model.generator.named_parameters())
    given = document("gan", lipschitz={"weight_clip": {"kind": "weight_clip", "limit": 0.01}})
    trained(given, tmp_path)
    weights = CheckpointStore(tmp_path).load("r1", 8).model
    largest = {name: value.abs().max() for name, value in weights.items() if name.endswith("weight")}
    assert all(value <= 0.01 for name, value in largest.items() if name.startswith("critic."))
    assert any(value > 0.01 for name, value in largest.items() if name.startswith("generator."))


def test_the_steepest_slope_of_a_linear_critic_is_its_weights_length() -> None:
    linear = {"kind": "mlp", "depth": 0}
    task, model = _gan(model=linear)
    weights = dict(model.critic.named_parameters())
    length = torch.linalg.vector_norm(weights["output.weight"])
    assert float(task.validate(model)["gan.lipschitz"]) == pytest.approx(length.item(), rel=1e-5)


@pytest.mark.parametrize("kind", ["gan", "vae", "denoising"])
def test_points_are_shown_over_the_data_and_their_modes_counted(kind: str) -> None:
    ring = {"kind": "gaussians", "modes": 4, "rows": 200}
    given = {**document("vae"), "task": {"kind": kind, "dataset": ring}}
    task = tasks.build(parse(given).spec, data_root=None, device=CPU)
    shown = task.samples(task.model)
    assert shown is not None
    assert shown.pixels.shape == (200, 200, 4)
    colours = {tuple(colour) for colour in shown.pixels.reshape(-1, 4)}
    assert len(colours) == 3  # nothing, data, samples
    validated = task.validate(task.model)
    assert ("gan.modes" in validated) == (kind == "gan")
    assert torch.isfinite(validated["loss.validation"])
