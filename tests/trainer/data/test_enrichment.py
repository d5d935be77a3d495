from typing import Any

import pytest
import torch

from gyrostat.spec.parse import parse
from trainer import tasks

CPU = torch.device("cpu")
EVERYTHING: dict[str, Any] = {
    "data": {
        "batch_size": 24,
        "augment": ["affine", "flip", "crop", "colour_jitter", "noise"],
        "mix": {"kind": "mixup", "alpha": 1.0},
        "curriculum": {"kind": "loss", "pacing": "linear", "start_fraction": 0.1, "steps": 20},
    },
    "noise": {"input": "input", "multiplicative": "multiplicative"},
}
SEGMENTATION: dict[str, Any] = {
    "task": {"kind": "segmentation", "dataset": {"kind": "shapes", "rows": 100, "size": 16, "noise": 0.0}},
    "model": {"kind": "unet", "width": 8, "stages": 2},
}


def task(**changes: Any) -> tasks.Task:
    plain = {
        "task": {"kind": "classification", "dataset": "digits"},
        "model": {"kind": "mlp", "depth": 1, "width": 8},
        "optimizer": "sgd",
        "steps": 40,
    }
    return tasks.build(parse(plain | changes).spec, data_root=None, device=CPU)


def test_a_batch_is_a_function_of_seed_and_step_whatever_is_done_to_it():
    one, same, other = task(**EVERYTHING), task(**EVERYTHING), task(**EVERYTHING, seed=1)
    first = [one.batch(step) for step in range(4)]
    torch.manual_seed(9)
    torch.rand(3)
    state = torch.get_rng_state()
    again = [same.batch(step) for step in reversed(range(4))][::-1]
    assert torch.equal(torch.get_rng_state(), state)
    for (x, y), (u, v) in zip(first, again, strict=True):
        assert torch.equal(x, u)
        assert torch.equal(y, v)
    assert not torch.equal(first[0][0], first[1][0])
    assert not torch.equal(first[0][0], other.batch(0)[0])


def test_held_out_and_probe_batches_are_left_as_they_are():
    plain, enriched = task(data={"batch_size": 24}), task(**EVERYTHING)
    for one, other in zip(plain.held_out(), enriched.held_out(), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(plain.probe_batch(8), enriched.probe_batch(8), strict=True))


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_lambda_is_told_as_it_was_used(kind):
    mixed = task(data={"batch_size": 24, "mix": {"kind": kind, "alpha": 1.0}})
    assert mixed.enrichment.scalars == ("data.mix_lambda",)
    seen = set()
    for step in range(6):
        weight = mixed.enrichment.measured(step)["data.mix_lambda"]
        targets = mixed.batch(step)[1]
        assert targets.shape == (24, 10)
        torch.testing.assert_close(targets.sum(1), torch.ones(24))
        # a sample whose partner is of its own class keeps all of its label
        for row in targets:
            found = row[row > 0].tolist()
            assert found == [1.0] or sorted(found) == pytest.approx(sorted((weight, 1 - weight)), abs=1e-6)
        seen.add(weight)
    assert len(seen) > 3


def test_a_model_learns_from_mixed_targets_and_tells_its_accuracy():
    mixed = task(data={"batch_size": 24, "mix": "mixup"})
    loss, measured = mixed.loss(mixed.model, mixed.batch(0))
    loss.backward()
    assert 0 <= measured["accuracy.train"] <= 1
    assert all(parameter.grad.isfinite().all() for parameter in mixed.model.parameters())


def test_regression_targets_are_mixed_as_numbers():
    changes = {"task": {"kind": "regression", "dataset": "diabetes"}}
    data = {"batch_size": 24, "mix": {"kind": "mixup", "alpha": 1.0}}
    plain, mixed = task(**changes, data={"batch_size": 24}), task(**changes, data=data)
    x, y = plain.batch(3)
    u, v = mixed.batch(3)
    weight = mixed.enrichment.measured(3)["data.mix_lambda"]
    # linear in inputs and targets alike: what explains one explains the other
    partner = (u - weight * x) / (1 - weight)
    order = torch.cdist(partner, x).argmin(1)
    torch.testing.assert_close(v, weight * y + (1 - weight) * y[order])


def test_masks_move_with_augmented_images():
    plain, moved = task(**SEGMENTATION), task(**SEGMENTATION, data={"augment": ["affine", "flip"]})
    x, y = moved.batch(0)
    assert not torch.equal(y, plain.batch(0)[1])
    assert y.dtype == torch.int64
    # without noise a pixel of the background is darker than one of a shape, but where interpolation mixes the two
    dark = x.amin(1) < x.min() + 0.05
    assert (y[dark] == 0).float().mean() > 0.97
    assert (dark[y == 0]).float().mean() > 0.9


def test_the_pool_of_a_step_is_the_easiest_part_and_reaches_all_data():
    data = {"curriculum": {"kind": "loss", "pacing": "linear", "start_fraction": 0.1, "steps": 20}, "batch_size": 24}
    taught, plain = task(data=data, steps=200), task(data={"batch_size": 24}, steps=200)
    everything = torch.cat([plain.batch(step)[0] for step in range(59)]).flatten(1)
    easy = torch.cat([taught.batch(step)[0] for step in range(3)]).flatten(1)
    assert taught.enrichment.measured(0) == {"data.pool_fraction": 0.1}
    assert taught.enrichment.measured(10) == {"data.pool_fraction": pytest.approx(0.55)}
    assert len(torch.unique(easy, dim=0)) <= 0.2 * 1437
    late = torch.cat([taught.batch(step)[0] for step in range(100, 220)]).flatten(1)
    assert len(torch.unique(late, dim=0)) > 0.97 * len(torch.unique(everything, dim=0))


@pytest.mark.parametrize("kind", ["loss", "length"])
def test_windows_of_text_come_from_the_pool(kind):
    changes = {
        "task": {"kind": "language_model", "dataset": "python_topics"},
        "model": {"kind": "transformer", "depth": 1, "width": 8},
    }
    data = {"limit": 20_000, "sequence_length": 16, "batch_size": 64}
    taught = task(**changes, data=data | {"curriculum": {"kind": kind, "start_fraction": 0.05, "pacing": "step"}})
    plain = task(**changes, data=data)

    def distinct(batches: tasks.Task, steps: range) -> float:
        rows = torch.cat([batches.batch(step)[0] for step in steps])
        return sum(len(set(row.tolist())) for row in rows) / len(rows)

    assert distinct(taught, range(3)) < distinct(plain, range(3)) - 0.5
    assert distinct(taught, range(20, 24)) == pytest.approx(distinct(plain, range(20, 24)))
    inputs, targets = taught.batch(0)
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
