"""What optimizers, decay, clipping and noise do to a whole training."""

from typing import Any

import pytest
import torch

from gyrostat.spec.catalogue import merge_patch
from gyrostat.spec.noise import GradientNoise
from gyrostat.spec.parse import parse
from tests.trainer.recording import document, trained
from trainer import tasks
from trainer.checkpoints import CheckpointStore
from trainer.control import Adjustment, Control
from trainer.data.generators import generator
from trainer.passes import Passes
from trainer.stabilizers import noise, optimizers

NOISY = {"regularization": {"dropout": {"kind": "element", "rate": 0.2}, "weight_decay": "decoupled"}}
OPTIMIZERS = [
    "rmsprop",
    "adam",
    "lion",
    "muon",
    "schedule_free",
    {"kind": "schedule_free", "base": "sgd"},
    "sam",
    {"kind": "sam", "base": "muon", "adaptive": True},
]
IDS = ["rmsprop", "adam", "lion", "muon", "schedule-free", "schedule-free sgd", "sam", "adaptive sam around muon"]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small(optimizer, **changes):
    """A few steps of a small residual net with batch normalization."""
    base = document(
        "digits-resnet",
        model={"depth": 3, "width": 4},
        data={"batch_size": 16, "limit": 200},
        schedule="constant",
        steps=6,
        checkpoints={"every": 3},
        validation={"every": 3, "max_batches": 2},
    )
    merged: dict[str, Any] = merge_patch(base, {**changes, "optimizer": None})
    probes = {"budget": None, "curvature": {"batch_size": 8, "every": 2, "max_products": 4}}
    return merged | {"optimizer": optimizer, "probes": probes}


def bits(recording, metric="loss.train"):
    return {step: value.hex() for step, value in recording.scalars(metric).items()}


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=IDS)
def test_a_training_goes_on_from_a_checkpoint_bit_for_bit_and_no_probe_fails(optimizer, tmp_path):
    given = small(optimizer, **NOISY, noise={"gradient": "gradient"}, gradients={"clip": "adaptive"})
    uncut = trained(given, tmp_path)
    again = trained(given, tmp_path, start=CheckpointStore(tmp_path).load("r1", 3))
    assert bits(again) == {step: loss for step, loss in bits(uncut).items() if step > 3}
    assert bits(again, "loss.validation") == {6: bits(uncut, "loss.validation")[6]}
    assert not {"probe_disabled", "log"} & set(uncut.kinds())
    limits = uncut.scalars("curvature.limit")
    assert bool(limits) == (optimizer not in ("lion", "muon") and "adaptive" not in optimizer)


def test_a_fork_takes_the_state_of_an_equal_optimizer_and_of_no_other(tmp_path):
    around = {"kind": "sam", "base": "sgd"}
    trained(small(around), tmp_path, run="parent")
    start = CheckpointStore(tmp_path).load("parent", 3)
    same = trained(small({**around, "rho": 0.1}), tmp_path, run="same", start=start)
    assert "log" not in same.kinds()
    other = trained(small({"kind": "sam", "base": "adamw"}), tmp_path, run="other", start=start)
    (message,) = [data["message"] for kind, _, data in other.events if kind == "log"]
    assert "optimizer starts anew" in message


def test_validation_and_checkpoints_of_a_schedule_free_training_are_of_the_averaged_weights(tmp_path):
    given = small({"kind": "schedule_free", "base": "sgd", "learning_rate": 0.5}, model={"norm": "layer"})
    recording = trained(given, tmp_path)
    kept = CheckpointStore(tmp_path).load("r1", 6)
    spec = parse(given).spec
    task = tasks.build(spec, data_root=None, device=torch.device("cpu"))
    task.model.load_state_dict(kept.model)
    assert float(task.validate(task.model, 2)["loss.validation"]) == recording.scalars("loss.validation")[6]
    for number, parameter in enumerate(task.model.parameters()):
        torch.testing.assert_close(parameter.detach(), _averages(kept, task.model)[number], rtol=0, atol=0)
    optimizer = optimizers.build(spec.optimizer, task.model)
    optimizer.load_state_dict({**kept.state["optimizer"], "param_groups": optimizer.state_dict()["param_groups"]})
    assert float(task.validate(task.model, 2)["loss.validation"]) != recording.scalars("loss.validation")[6]


def _averages(kept, model):
    """x of each parameter, in the model's order: matrices come first in the optimizer's."""
    parameters = list(model.parameters())
    order = [p for p in parameters if p.ndim > 1] + [p for p in parameters if p.ndim <= 1]
    places = {id(p): at for at, p in enumerate(order)}
    return [kept.state["optimizer"]["state"][places[id(p)]]["x"] for p in parameters]


def test_sharpness_aware_passes_leave_the_gradient_at_the_ascended_point_with_the_same_dropout():
    given = small({"kind": "sam", "base": "sgd", "rho": 0.5}, **NOISY, accumulation={"steps": 2})
    spec = parse(given).spec
    task = tasks.build(spec, data_root=None, device=torch.device("cpu"))
    sam = optimizers.build(spec.optimizer, task.model)
    batch, told = task.batch(0), []
    weights = [p.detach().clone() for p in task.model.parameters()]

    torch.manual_seed(3)
    plain = Passes(spec, task, torch.optim.SGD(task.model.parameters()))
    expected = plain.run(batch)
    random_after = torch.get_rng_state()
    statistics = {name: buffer.clone() for name, buffer in task.model.named_buffers()}
    first = [p.grad.clone() for p in task.model.parameters()]
    length = torch.cat([g.flatten() for g in first]).norm()
    with torch.no_grad():
        for p, weight, g in zip(task.model.parameters(), weights, first, strict=True):
            p.copy_(weight + 0.5 * g / length)
            p.grad = None
    torch.manual_seed(3)
    plain.run(batch)
    ascended = [p.grad.clone() for p in task.model.parameters()]

    task.model.load_state_dict(
        dict(zip([n for n, _ in task.model.named_parameters()], weights, strict=True)), strict=False
    )
    fresh = tasks.build(spec, data_root=None, device=torch.device("cpu"))
    for name, buffer in task.model.named_buffers():
        buffer.copy_(dict(fresh.model.named_buffers())[name])
    sam.zero_grad()
    torch.manual_seed(3)
    measured = Passes(spec, task, sam).gradient(batch, after_forward=lambda: told.append(torch.get_rng_state()))
    assert measured["loss.train"] == expected["loss.train"], "the loss is that of the weights themselves"
    assert torch.equal(torch.get_rng_state(), random_after)
    assert len(told) == 1
    for p, weight, gradient in zip(task.model.parameters(), weights, ascended, strict=True):
        assert torch.equal(p, weight)
        torch.testing.assert_close(p.grad, gradient, rtol=1e-4, atol=1e-6)
    for name, buffer in task.model.named_buffers():
        assert torch.equal(buffer, statistics[name]), "a batch is counted once"


def test_sharpness_aware_training_measures_activations_at_the_weights_themselves(tmp_path):
    plain, sharp = (trained(small(kind), tmp_path / name) for name, kind in (("a", "sgd"), ("b", "sam")))
    first = [recording.frames[1] for recording in (plain, sharp)]
    assert (first[0]["activation.rms"] == first[1]["activation.rms"]).all()
    assert first[0]["loss.train"] == first[1]["loss.train"]
    assert (first[0]["gradient.norm"] != first[1]["gradient.norm"]).any()


@pytest.mark.parametrize("clip", ["norm", "value", "adaptive"])
def test_what_clipping_did_is_on_record_and_nothing_where_nothing_clips(clip, tmp_path):
    recording = trained(small("sgd", gradients={"clip": clip}), tmp_path / clip)
    factors = recording.scalars("gradient.clip_factor")
    assert set(factors) == set(range(1, 7))
    before, after = (recording.scalars(f"gradient.{name}") for name in ("global_norm", "clipped_norm"))
    assert before
    for step, norm in before.items():
        assert factors[step] == pytest.approx(after[step] / norm, rel=1e-5)
    fractions = recording.scalars("gradient.clipped_fraction")
    assert set(fractions) == set(factors)
    for step, fraction in fractions.items():
        assert (fraction > 0) == (factors[step] < 1)
        assert clip != "norm" or fraction in (0, 1)
    assert trained(small("sgd", steps=2), tmp_path / "none").scalars("gradient.clip_factor") == {}


def test_a_live_limit_stands_in_for_any_clipping_of_the_spec(tmp_path):
    control = Control()
    control.adjust(Adjustment(clip_norm=1e-6))
    recording = trained(small("sgd", gradients={"clip": "adaptive"}), tmp_path, control=control)
    clipped = list(recording.scalars("gradient.clipped_norm").values())
    assert clipped == pytest.approx([1e-6] * len(clipped), rel=1e-4)


def test_gradient_noise_is_a_function_of_seed_and_step_with_the_announced_variance():
    def drawn(seed, step, **settings):
        parameter = torch.zeros(40_000, dtype=torch.float64, requires_grad=True)
        parameter.grad = torch.ones(40_000, dtype=torch.float64)
        unused = torch.zeros(3, requires_grad=True)
        source = generator(seed, "gradient noise", step)
        noise.add_to_gradients(GradientNoise(**settings), [parameter, unused], step, source)
        assert unused.grad is None
        return parameter.grad - 1

    for step in (0, 9, 99):
        values = drawn(0, step, eta=0.3, gamma=0.55)
        # the sample variance of n normals has a relative standard error of √(2/n) = 0.7 %
        assert values.var().item() == pytest.approx(0.3 / (1 + step) ** 0.55, rel=0.03)
        assert abs(values.mean().item()) < 4 * (0.3 / 40_000) ** 0.5
    assert torch.equal(drawn(1, 5), drawn(1, 5))
    assert not torch.equal(drawn(1, 5), drawn(2, 5))
    assert drawn(0, 3, eta=0.0).abs().max() == 0


def test_gradient_noise_reaches_the_weights(tmp_path):
    quiet, noisy = (
        bits(trained(small("sgd", noise={"gradient": given}), tmp_path / str(given)))
        for given in (None, {"kind": "gradient", "eta": 1.0})
    )
    assert quiet[1] == noisy[1]
    assert quiet[2] != noisy[2]
