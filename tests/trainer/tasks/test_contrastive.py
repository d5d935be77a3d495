import math

import pytest
import torch
from torch.nn import functional

from gyrostat.spec.parse import parse
from tests.trainer.tasks.training import CPU, train
from trainer import tasks
from trainer.tasks.contrastive import pair_potential

DOCUMENT = {
    "task": {"kind": "contrastive", "dataset": "digits", "projection": 8},
    "model": {"kind": "mlp", "depth": 1, "width": 16},
    "data": {"batch_size": 24, "limit": 200},
    "optimizer": "sgd",
    "steps": 10,
}


def built(**changes):
    return tasks.build(parse({**DOCUMENT, **changes}).spec, data_root=None, device=CPU)


def test_a_batch_is_two_different_views_of_the_same_samples_and_a_pure_function_of_the_step():
    task = built()
    first, second, groups = task.batch(3)
    originals = task.batches.batch(3)[0]
    assert first.shape == second.shape == originals.shape
    for view in (first, second):
        assert not torch.equal(view, originals)
        nearest = torch.cdist(view.flatten(1), originals.flatten(1)).argmin(1)
        assert (nearest == torch.arange(24)).float().mean() > 0.25, "chance is 0.04"
    assert not torch.equal(first, second)
    assert torch.equal(groups, torch.arange(24))
    state = torch.get_rng_state()
    assert all(torch.equal(a, b) for a, b in zip(task.batch(3), built().batch(3), strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(task.batch(3)[0], task.batch(4)[0])


def test_the_spec_s_augmentations_make_the_views():
    still = built(data={**DOCUMENT["data"], "augment": [{"kind": "noise", "sigma": 0.0}]})
    first, second, _ = still.batch(0)
    assert torch.equal(first, second)
    assert torch.equal(first, still.batches.batch(0)[0])


def test_supervised_takes_the_classes_for_groups():
    task = built(task={**DOCUMENT["task"], "supervised": True})
    assert torch.equal(task.batch(2)[2], task.batches.batch(2)[1])


def test_alignment_and_uniformity_are_their_formulas():
    task = built(data={**DOCUMENT["data"], "batch_size": 40})
    got = task.validate(task.model)
    task.model.eval()
    ((first, second, _),) = list(task.held_out())
    one, other = (functional.normalize(task.model(view), dim=1) for view in (first, second))
    expected = torch.stack([(a - b).norm() ** 2 for a, b in zip(one, other, strict=True)]).mean()
    assert got["representation.alignment"].item() == pytest.approx(expected.item(), rel=1e-4)
    uniform = torch.pdist(one).square().mul(-2).exp().mean().log()
    assert got["representation.uniformity"].item() == pytest.approx(uniform.item(), rel=1e-4)


def test_a_sample_alone_is_as_near_as_can_be():
    assert pair_potential(torch.tensor([[1.0, 0.0]])).item() == 1
    assert pair_potential(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).item() == pytest.approx(math.exp(-8), rel=1e-3)


def test_the_first_linear_probe_is_that_of_the_weights_at_the_start_and_stays():
    task = built()
    before = task.validate(task.model)
    assert before["representation.linear_probe_accuracy"] == before["representation.initial_probe_accuracy"]
    trained = train(parse({**DOCUMENT, "optimizer": {"kind": "sgd", "learning_rate": 0.5}}).spec, 5).task
    after = trained.validate(trained.model)
    assert after["representation.initial_probe_accuracy"] == before["representation.initial_probe_accuracy"]
    assert after["representation.linear_probe_accuracy"] != before["representation.linear_probe_accuracy"]


@pytest.mark.parametrize("loss", ["infonce", "pair_contrastive", "triplet"])
def test_each_loss_falls(loss):
    changes = {"loss": loss, "optimizer": {"kind": "adamw", "learning_rate": 0.003}, "steps": 40}
    task, losses, _ = train(parse({**DOCUMENT, **changes}).spec, 40)
    start = built(**changes)
    before, after = (each.validate(each.model)["loss.validation"] for each in (start, task))
    assert sum(losses[-5:]) < sum(losses[:5])
    assert after < before


def test_loss_and_validation_answer_what_the_task_says():
    task = built()
    loss, measured = task.loss(task.model, task.batch(0))
    assert loss.requires_grad
    assert {*measured, *task.validate(task.model, 1)} == set(task.scalars)


def test_validation_leaves_model_and_generator_as_they_were_and_says_the_same_again():
    task = built(model={"kind": "mlp", "depth": 1, "width": 16, "norm": "batch"})
    before, state = {k: v.clone() for k, v in task.model.state_dict().items()}, torch.get_rng_state()
    assert task.validate(task.model) == task.validate(task.model)
    assert task.model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in task.model.state_dict().items())


def test_features_are_what_the_encoder_s_output_reads():
    task = built()
    task.model.eval()
    x = task.batch(0)[0]
    features = task.model.features(x)
    assert features.shape == (24, 16)
    model = task.model
    assert torch.equal(model.projection(model.activation(model.encoder.output(features))), model(x))
