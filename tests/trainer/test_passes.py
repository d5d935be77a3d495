"""The gradient of a step is the true one: of the whole batch, unscaled, in whatever numbers and pieces it is made."""

import numpy as np
import pytest
import torch

from gyrostat.spec.parse import parse
from gyrostat.spec.probes import PROBES
from tests.trainer.recording import document, trained
from trainer import tasks
from trainer.checkpoints import CheckpointStore
from trainer.passes import Passes
from trainer.stabilizers import optimizers

CPU = torch.device("cpu")
NO_PROBES = {name: {"enabled": False} for name in PROBES}
OVERFLOWING = {"kind": "fp16", "initial_scale": 2.0**24, "growth_interval": 6}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def passes_of(given, *, double=False):
    """A task, the passes of its steps, and the optimizer."""
    spec = parse(given).spec
    task = tasks.build(spec, data_root=None, device=CPU)
    if double:
        task.model.double()
    optimizer = optimizers.build(spec.optimizer, task.model)
    return task, Passes(spec, task, optimizer), optimizer


def gradient(model):
    return {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("preset", ["digits-mlp", "digits-cnn"])
@pytest.mark.parametrize("parts", [2, 8])
def test_micro_batches_leave_the_gradient_of_the_whole_batch(preset, parts):
    found = []
    for steps in (1, parts):
        small = {"model": {"norm": None, "width": 8}, "data": {"batch_size": 16}, "schedule": "constant"}
        task, passes, _ = passes_of(document(preset, **small, accumulation={"steps": steps}), double=True)
        inputs, targets = task.batch(0)
        measured = passes.run((inputs.double(), targets))
        found.append((gradient(task.model), measured))
    (whole, loss), (pieces, same_loss) = found
    for name, expected in whole.items():
        torch.testing.assert_close(pieces[name], expected, rtol=1e-10, atol=1e-14, msg=name)
    torch.testing.assert_close(same_loss["loss.train"], loss["loss.train"], rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", ["bf16", "fp16"])
def test_gradients_are_those_of_the_autocast_loss_itself_whatever_the_scale(kind):
    task, passes, _ = passes_of(document("digits-mlp", precision=kind, accumulation={"steps": 2}))
    batch = task.batch(0)
    passes.run(batch)
    found = gradient(task.model)
    task.model.zero_grad()
    scale = 2.0**16 if kind == "fp16" else 1.0
    for part in zip(*(tensor.tensor_split(2) for tensor in batch), strict=True):
        with torch.autocast("cpu", dtype=torch.bfloat16 if kind == "bf16" else torch.float16):
            loss, _ = task.loss(task.model, part)
        assert loss.dtype == torch.float32, "a sum over classes would lose bits in 16"
        (loss * 0.5 * scale).backward()
    for name, by_hand in gradient(task.model).items():
        assert torch.equal(found[name], by_hand / scale), name
    task.model.zero_grad()
    loss, _ = task.loss(task.model, batch)
    loss.backward()
    for name, exact in gradient(task.model).items():
        assert (found[name] - exact).norm() < 0.05 * exact.norm(), name


def test_a_pass_before_the_last_is_unscaled_too():
    task, passes, optimizer = passes_of(document("digits-mlp", precision={"kind": "fp16", "initial_scale": 1024.0}))
    batch = task.batch(0)
    passes.run(batch, last=False)
    ascent = gradient(task.model)
    optimizer.zero_grad()
    passes.run(batch)
    for name, found in gradient(task.model).items():
        torch.testing.assert_close(ascent[name], found, rtol=1e-6, atol=0, msg=name)
    assert passes.step() == {"precision.loss_scale": 1024.0, "precision.overflow": 0.0}


def test_backward_signals_do_not_show_the_loss_scale(tmp_path):
    found = []
    for precision in ("fp32", {"kind": "fp16", "initial_scale": 1024.0}):
        given = document(
            "digits-mlp",
            precision=precision,
            accumulation={"steps": 2},
            steps=1,
            probes=NO_PROBES | {"signals": {"every": 1}},
        )
        recording = trained(given, tmp_path)
        found.append(recording.frames[1]["activation.gradient_rms"])
    assert len(found[0]) > 3
    np.testing.assert_allclose(found[1], found[0], rtol=0.03)


@pytest.mark.parametrize("optimizer", ["sgd", "sam"])
def test_each_micro_batch_of_the_gradient_that_counts_is_told_with_what_it_was_scaled_by(optimizer):
    given = document("digits-mlp", precision={"kind": "fp16", "initial_scale": 64.0}, accumulation={"steps": 4})
    task, passes, _ = passes_of({**given, "optimizer": optimizer})
    batch, told = task.batch(0), []

    def note(samples, *, scale, reduced):
        told.append((samples, float(scale), reduced, gradient(task.model)))

    passes.gradient(batch, after_forward=lambda: None, after_micro_batch=note)
    size = len(batch[0])
    assert [samples for samples, *_ in told] == [len(part) for part in batch[0].tensor_split(4)]
    assert {(scale, reduced) for _, scale, reduced, _ in told} == {(64.0, False)}
    for name, whole in gradient(task.model).items():
        torch.testing.assert_close(told[-1][-1][name] / 64, whole, rtol=0, atol=0, msg=name)
        assert not torch.equal(told[0][-1][name], told[1][-1][name]), name
    assert sum(samples for samples, *_ in told) == size


def test_the_noise_of_a_training_is_measured_from_its_micro_batches_and_else_from_the_probe_batch(tmp_path):
    probes = {**NO_PROBES, "gradient_noise": {"every": 2, "parts": 4}}
    small = {"model": {"norm": None, "width": 16}, "data": {"batch_size": 32}, "schedule": "constant", "steps": 4}
    found = []
    for number, accumulation in enumerate(({"steps": 1}, {"steps": 4}, {"steps": 4})):
        precision = {"kind": "fp16", "initial_scale": 256.0} if number == 2 else {"kind": "fp32"}
        given = document("digits-mlp", **small, probes=probes, accumulation=accumulation, precision=precision)
        given["probes"]["budget"] = None
        recording = trained(given, tmp_path / str(number))
        assert not [event for event in recording.events if event[0] == "probe_disabled"]
        found.append([recording.scalars(f"gradient.{name}") for name in ("noise_trace", "signal")])
        assert all(set(values) == {2, 4} for values in found[-1])
    of_probe_batch, of_parts, in_float16 = found
    for step in (2, 4):
        for exact, rounded in zip(of_parts, in_float16, strict=True):
            assert rounded[step] == pytest.approx(exact[step], rel=0.1), "the loss scale is out of it"
        # of other samples, in four groups
        assert 0.2 < of_probe_batch[0][step] / of_parts[0][step] < 5


def test_an_overflow_leaves_the_step_out_halves_the_scale_and_is_told(tmp_path):
    given = document("digits-mlp", precision=OVERFLOWING, steps=20, probes={"gradients": {"every": 1}})
    recording = trained(given, tmp_path)
    scale, overflow = recording.scalars("precision.loss_scale"), recording.scalars("precision.overflow")
    left_out = [step for step, flag in overflow.items() if flag]
    assert left_out[:2] == [1, 2]
    assert 0 < len(left_out) < 12
    for step in range(1, 20):
        assert scale[step + 1] in ({scale[step] / 2} if overflow[step] else {scale[step], scale[step] * 2})
    assert any(scale[step + 1] > scale[step] for step in range(1, 20)), "it grows again after six steps"
    norms, ratios = recording.scalars("gradient.global_norm"), recording.frames[1]["update.ratio"]
    assert all(torch.tensor(norms[step]).isfinite() == (not overflow[step]) for step in norms)
    assert not np.nan_to_num(ratios).any(), "nothing moved; biases of zero have no ratio"
    told = [(step, data["message"]) for kind, step, data in recording.events if kind == "log"]
    why = "its gradient was not finite at loss scale 1.67772e+07, which becomes smaller"
    assert told[0] == (1, f"step 1 changed nothing: {why}")
    assert len(told) < len(left_out), "several in a row are told once"


def test_a_float16_training_goes_on_from_a_checkpoint_bit_for_bit(tmp_path):
    given = document("digits-mlp", precision=OVERFLOWING, steps=24, checkpoints={"every": 8})
    uncut = trained(given, tmp_path)
    resumed = trained(given, tmp_path, start=CheckpointStore(tmp_path).load("r1", 8))
    for metric in ("loss.train", "precision.loss_scale", "precision.overflow"):
        assert resumed.scalars(metric) == {s: value for s, value in uncut.scalars(metric).items() if s > 8}, metric


@pytest.mark.parametrize("kind", ["bf16", "fp16"])
@pytest.mark.parametrize("preset", ["digits-resnet", "text-transformer", "diabetes-mlp"])
def test_mixed_precision_learns_validates_in_its_own_numbers_and_measures_curvature_in_float32(
    preset, kind, tmp_path, monkeypatch
):
    data = {"batch_size": 16} | ({"sequence_length": 16} if preset == "text-transformer" else {})
    model = {"width": 16} if preset == "diabetes-mlp" else {"depth": 3, "width": 8}
    small = {"data": data, "model": model | ({"attention": {"heads": 2}} if preset == "text-transformer" else {})}
    probes = {**NO_PROBES, "curvature": {"every": 10, "batch_size": 8, "max_products": 3}}
    given = document(preset, precision=kind, steps=20, schedule="constant", probes=probes, **small)
    given["probes"]["budget"] = None
    task = tasks.build(parse(given).spec, data_root=None, device=CPU)
    lower = []
    evaluate, loss = task.evaluate, task.loss
    monkeypatch.setattr(
        task, "evaluate", lambda *a: (lower.append(("validation", torch.is_autocast_enabled("cpu"))), evaluate(*a))[1]
    )
    monkeypatch.setattr(
        task, "loss", lambda *a: (lower.append((len(a[1][0]), torch.is_autocast_enabled("cpu"))), loss(*a))[1]
    )
    recording = trained(given, tmp_path, task=task)
    losses = list(recording.scalars("loss.train").values())
    assert sum(losses[-5:]) < sum(losses[:5])
    assert set(lower) == {("validation", True), (16, True), (8, False)}
    assert recording.scalars("curvature.sharpness")
    weights = CheckpointStore(tmp_path).load("r1", 20).model
    assert {tensor.dtype for tensor in weights.values() if tensor.is_floating_point()} == {torch.float32}
