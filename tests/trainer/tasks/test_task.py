from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import nn

from gyrostat.spec.parse import parse
from gyrostat.spec.run import RunSpec
from gyrostat.spec.tasks import Task as TaskSettings
from tests.trainer.tasks.training import CPU, train
from trainer import tasks
from trainer.data.samples import DataError
from trainer.tasks.classification import MARGINS
from trainer.tasks.margins import input_margins
from trainer.tasks.task import GAP_SAMPLES

DOCUMENTS: dict[str, dict[str, Any]] = {
    "classification": {
        "task": {"kind": "classification", "dataset": "digits"},
        "model": {"kind": "mlp", "depth": 1, "width": 8, "norm": "batch"},
        "data": {"batch_size": 100},
    },
    "regression": {
        "task": {"kind": "regression", "dataset": "diabetes"},
        "model": {"kind": "mlp", "depth": 1, "width": 8},
        "data": {"batch_size": 25},
    },
    "language_model": {
        "task": {"kind": "language_model", "dataset": {"kind": "python_topics", "unit": "character"}},
        "model": {"kind": "transformer", "depth": 1, "width": 8},
        "data": {"batch_size": 7, "sequence_length": 12, "limit": 2000},
    },
    "segmentation": {
        "task": {"kind": "segmentation", "dataset": {"kind": "shapes", "size": 8, "rows": 120}},
        "model": {"kind": "unet", "depth": 2, "width": 4, "stages": 2, "norm": {"kind": "group", "groups": 2}},
        "data": {"batch_size": 10},
    },
}


def spec_of(kind: str, **changes: Any) -> RunSpec:
    return parse({**DOCUMENTS[kind], "optimizer": "sgd", "steps": 10, "init": "he_normal", **changes}).spec


def built(spec: RunSpec) -> tasks.Task:
    return tasks.build(spec, data_root=None, device=CPU)


every_kind = pytest.mark.parametrize("kind", DOCUMENTS)


def test_every_task_of_the_spec_is_registered():
    assert set(tasks.TASKS) == set(get_args(get_args(TaskSettings)[0]))


@every_kind
def test_loss_and_validation_answer_what_the_task_says_as_detached_scalars(kind):
    task = built(spec_of(kind))
    loss, measured = task.loss(task.model, task.batches.batch(0))
    held_out = task.validate(task.model, 2)
    assert loss.shape == ()
    assert loss.requires_grad
    assert {*measured, *held_out} == set(task.scalars)
    assert len(set(task.scalars)) == len(task.scalars)
    for value in (*measured.values(), *held_out.values()):
        assert value.shape == ()
        assert not value.requires_grad


@every_kind
def test_validation_is_the_mean_over_all_held_out_samples_in_eval_mode(kind):
    task = built(spec_of(kind))
    got = task.validate(task.model)
    inputs, targets = (torch.cat(parts) for parts in zip(*task.held_out(), strict=True))
    task.model.eval()
    outputs = task.model(inputs)
    if kind == "regression":
        assert got["loss.validation"].item() == pytest.approx((outputs - targets).square().mean().item(), rel=1e-5)
        return
    outputs = outputs.movedim(1, -1) if kind == "segmentation" else outputs
    flat, wanted = outputs.flatten(0, -2), targets.flatten()
    assert got["loss.validation"].item() == pytest.approx(nn.functional.cross_entropy(flat, wanted).item(), rel=1e-5)
    assert got["accuracy.validation"].item() == pytest.approx(
        (flat.argmax(1) == wanted).float().mean().item(), rel=1e-5
    )


def test_held_out_batches_hold_every_sample_once_and_the_last_is_smaller():
    task = built(spec_of("classification"))
    assert [len(inputs) for inputs, _ in task.held_out()] == [100, 100, 100, 60]


def test_held_out_windows_follow_one_another_after_all_that_is_trained_on():
    task = built(spec_of("language_model"))
    inputs, targets = (torch.cat(parts) for parts in zip(*task.held_out(), strict=True))
    assert len(inputs) == (400 - 1) // 12
    assert torch.equal(inputs.flatten()[1:], targets.flatten()[:-1])


@every_kind
def test_validation_leaves_the_mode_the_running_statistics_and_the_generator_as_they_were(kind):
    task = built(spec_of(kind, regularization={"dropout": "element"}))
    for training in (True, False):
        task.model.train(training)
        before = {name: value.clone() for name, value in task.model.state_dict().items()}
        state = torch.get_rng_state()
        task.validate(task.model, 1)
        assert task.model.training == training
        assert torch.equal(torch.get_rng_state(), state)
        assert all(torch.equal(before[name], value) for name, value in task.model.state_dict().items())


def test_a_failing_validation_leaves_the_model_in_train_mode():
    task = built(spec_of("classification"))
    task.model.layers[0].register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        task.validate(task.model)
    assert task.model.training


@every_kind
def test_a_limit_on_batches_is_kept(kind):
    task, seen = built(spec_of(kind)), []
    task.model.register_forward_hook(lambda module, arguments, output: seen.append(len(output)))
    task.validate(task.model, 2)
    # input gradients and margins have a pass each
    own_passes = sum(name in task.scalars for name in ("generalization.input_gradient_norm", MARGINS[0]))
    assert seen[:4] == [task.samples_per_step] * 4, "two held-out batches, and no more of training samples"
    assert len(seen) == 4 + own_passes


@every_kind
def test_weights_depend_on_the_seed_alone(kind):
    torch.manual_seed(1)
    one = built(spec_of(kind, seed=5)).model.state_dict()
    torch.manual_seed(2)
    same, other = (built(spec_of(kind, seed=seed)).model.state_dict() for seed in (5, 6))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


@every_kind
def test_building_a_task_draws_nothing_from_the_global_generator(kind):
    state = torch.get_rng_state()
    built(spec_of(kind))
    assert torch.equal(torch.get_rng_state(), state)


@every_kind
def test_the_probe_batch_is_fixed_and_from_the_training_data(kind):
    task = built(spec_of(kind))
    inputs, targets = task.probe_batch(16)
    assert torch.equal(inputs, built(spec_of(kind)).probe_batch(16)[0])
    assert len(inputs) == len(targets) == 16
    if kind != "language_model":
        trained = {tuple(row.flatten().tolist()) for step in range(14) for row in task.batches.batch(step)[0]}
        assert len({tuple(row.flatten().tolist()) for row in inputs} & trained) > 14


@every_kind
@pytest.mark.parametrize("parts", [1, 5, 25])
def test_micro_batches_give_the_whole_batch_s_loss_and_gradients(kind, parts):
    size = {"classification": 100}.get(kind, 25)
    changes = {"data": {**DOCUMENTS[kind]["data"], "batch_size": size}}
    model = {**DOCUMENTS[kind]["model"], "norm": None}
    whole = train(spec_of(kind, model=model, **changes), 1)
    split = train(spec_of(kind, model=model, **changes, accumulation={"kind": "micro_batches", "steps": parts}), 1)
    assert split.losses == pytest.approx(whole.losses, rel=1e-5)
    for name, norm in whole.gradient_norms[0].items():
        assert split.gradient_norms[0][name] == pytest.approx(norm, rel=1e-4, abs=1e-6)


def test_a_text_file_of_the_user_s_own_is_learnt(tmp_path):
    (tmp_path / "abc.txt").write_text("abcdefgh" * 100)
    changes = {
        "task": {"kind": "language_model", "dataset": {"kind": "text_file", "path": "abc.txt", "unit": "character"}}
    }
    task = tasks.build(spec_of("language_model", **changes), data_root=tmp_path, device=CPU)
    assert task.model.output.out_features == 8
    assert task.validate(task.model)["loss.validation"].isfinite()


def test_a_text_too_short_to_hold_anything_out_is_an_error_that_says_what_to_do():
    data = {"batch_size": 7, "sequence_length": 12, "limit": 50}
    with pytest.raises(DataError, match="10 held-out tokens do not hold a sequence of 12"):
        built(spec_of("language_model", data=data))


def test_the_input_gradient_norm_is_the_mean_over_single_samples():
    task = built(spec_of("classification"))
    got = task.validate(task.model)["generalization.input_gradient_norm"]
    inputs, targets = next(task.held_out())
    task.model.eval()
    norms = []
    for x, y in zip(inputs[:, None], targets[:, None], strict=True):
        x.requires_grad_()
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(task.model(x), y), x)
        norms.append(gradient.norm())
    assert got.item() == pytest.approx(torch.stack(norms).mean().item(), rel=1e-4)
    assert all(parameter.grad is None for parameter in task.model.parameters())


@every_kind
def test_gaps_are_of_training_samples_as_the_network_is_used(kind):
    regularization = {"dropout": "element", "label_smoothing": {"epsilon": 0.2}} if kind == "classification" else {}
    task = built(spec_of(kind, regularization=regularization))
    got = task.validate(task.model)
    size = task.samples_per_step
    known = task.probe_batch(size * min(len(list(task.held_out())), GAP_SAMPLES // size))
    assert size < len(known[0]) <= GAP_SAMPLES
    task.model.eval()
    outputs, targets = task.model(known[0]), known[1]
    if kind == "regression":
        loss = (outputs - targets).square().mean()
    else:
        outputs = (outputs.movedim(1, -1) if kind == "segmentation" else outputs).flatten(0, -2)
        loss = nn.functional.cross_entropy(outputs, targets.flatten())
        accuracy = (outputs.argmax(1) == targets.flatten()).float().mean()
        gap = accuracy - got["accuracy.validation"]
        assert got["generalization.accuracy_gap"].item() == pytest.approx(gap.item(), abs=1e-6)
    gap = got["loss.validation"] - loss
    assert got["generalization.gap"].item() == pytest.approx(gap.item(), rel=1e-3, abs=1e-6)


def test_margins_are_told_by_their_tenth_percentile_and_their_median():
    task = built(spec_of("classification"))
    got = task.validate(task.model)
    task.model.eval()
    margins = np.sort(input_margins(task.model, *next(task.held_out())).numpy())
    assert len(margins) == 100
    assert got["generalization.margin_p10"].item() == pytest.approx(np.quantile(margins, 0.1), rel=1e-5)
    assert got["generalization.margin_median"].item() == pytest.approx(np.median(margins), rel=1e-5)


def test_class_weights_come_from_the_training_labels_and_weigh_validation_too():
    task = built(spec_of("classification", loss={"kind": "cross_entropy", "class_weights": "balanced"}))
    labels = torch.cat([task.batches.batch(step)[1] for step in range(14)])
    weights = len(labels) / (10 * torch.bincount(labels, minlength=10))
    outputs, (inputs, targets) = task.model, next(task.held_out())
    task.model.eval()
    losses = nn.functional.cross_entropy(outputs(inputs), targets, reduction="none")
    got = task.evaluate(task.model, (inputs, targets))["loss"]
    assert got.item() == pytest.approx((losses * weights[targets]).mean().item(), rel=0.02), "14 of 1437 are left out"
    assert got.item() != pytest.approx(losses.mean().item(), rel=1e-4)


def test_weights_that_do_not_fit_the_user_s_own_classes_are_an_error_before_training():
    spec = spec_of("classification", loss={"kind": "focal", "class_weights": [1.0] * 10})
    wrong = spec.loss.model_copy(update={"class_weights": [1.0, 2.0]})
    with pytest.raises(DataError, match="2 weights for the 10 classes"):
        built(spec.model_copy(update={"loss": wrong}))


@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_mixed_targets_are_learnt_from(loss):
    task, losses, _ = train(spec_of("classification", loss=loss, data={"batch_size": 100, "mix": "mixup"}), 3)
    assert task.batch(0)[1].shape == (100, 10)
    assert all(torch.tensor(losses).isfinite())
