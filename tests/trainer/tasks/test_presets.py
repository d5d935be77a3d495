"""The presets: what is called healthy trains well, what is called sick is sick in the way it says."""

import math
from typing import Any

import pytest
import torch

from gyrostat.spec.catalogue import merge_patch
from gyrostat.spec.parse import parse
from gyrostat.spec.presets import PRESETS
from gyrostat.spec.run import RunSpec
from tests.trainer.tasks.training import train
from trainer.data.datasets import available

HERE = [name for name, preset in PRESETS.items() if preset.spec.task.dataset.kind in available()]


def spec_of(name: str, **changes: Any) -> RunSpec:
    return parse(merge_patch(PRESETS[name].document, changes)).spec


def quick(name: str) -> RunSpec:
    """The preset on less data, where it has much."""
    return (
        spec_of(name, data={"limit": 2000})
        if PRESETS[name].spec.task.dataset.kind == "fashion_mnist"
        else spec_of(name)
    )


@pytest.mark.parametrize("name", HERE)
def test_it_builds_and_trains_three_steps(name):
    task, losses, norms = train(quick(name), 3)
    if PRESETS[name].healthy:
        assert all(math.isfinite(loss) for loss in losses)
        assert all(math.isfinite(norm) for step in norms for norm in step.values())
        assert all(value.isfinite() for value in task.validate(task.model, 1).values())


@pytest.mark.parametrize("name", [name for name in HERE if name != "fashion-resnet"])
def test_the_same_seed_gives_the_same_training_bit_for_bit_whatever_ran_before(name):
    one = train(quick(name), 2)
    torch.manual_seed(12345)
    torch.rand(17)
    other = train(quick(name), 2)
    assert one.losses == other.losses
    pairs = zip(one.task.model.state_dict().values(), other.task.model.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


# name, steps, metric, at most (loss) or at least (all others)
RESULTS = [
    ("digits-mlp", 200, "accuracy.validation", 0.95),
    ("digits-cnn", 50, "accuracy.validation", 0.85),
    ("digits-resnet", 40, "accuracy.validation", 0.85),
    ("digits-enriched", 120, "accuracy.validation", 0.6),
    ("diabetes-mlp", 200, "loss.validation", 0.5),
    ("text-transformer", 45, "loss.validation", 3.25),
    ("transduction", 90, "accuracy.validation", 0.95),
    ("digits-transformer", 60, "accuracy.validation", 0.85),
    ("digits-diffusion", 50, "loss.validation", 0.75),
    ("digits-vae", 100, "loss.validation", 8.0),
    ("digits-gan", 120, "loss.validation", 0.6),
    ("digits-contrastive", 25, "representation.linear_probe_accuracy", 0.85),
    ("shapes-unet", 40, "mean_iou.validation", 0.3),
]


@pytest.mark.parametrize(("name", "steps", "metric", "bound"), RESULTS)
def test_the_healthy_ones_soon_reach_a_sane_result(name, steps, metric, bound):
    task, _, _ = train(spec_of(name), steps)
    value = task.validate(task.model, 6)[metric].item()
    assert value <= bound if metric.startswith("loss") else value >= bound


def test_every_healthy_preset_that_needs_no_package_is_in_that_list():
    healthy = {name for name, preset in PRESETS.items() if preset.healthy}
    assert healthy - {"fashion-resnet"} == {name for name, *_ in RESULTS}


def test_the_deep_sigmoid_net_loses_its_gradient_and_learns_nothing():
    task, losses, norms = train(spec_of("sick-deep-sigmoid"), 60)
    ratios = [step["output.weight"] / step["layers.0.linear.weight"] for step in norms]
    assert min(ratios) > 1e6
    assert abs(losses[-1] - math.log(10)) < 0.2
    assert task.validate(task.model)["accuracy.validation"] < 0.3


@pytest.mark.parametrize("seed", [0, 1])
def test_the_large_rate_explodes_within_ten_steps_and_a_tenth_of_it_trains(seed):
    _, losses, norms = train(spec_of("sick-large-rate", seed=seed), 10)
    assert max(losses) > 1000 * losses[0]
    assert max(max(step.values()) for step in norms) > 1000 * max(norms[0].values())
    rate = PRESETS["sick-large-rate"].spec.optimizer.learning_rate / 10
    task, _, _ = train(spec_of("sick-large-rate", seed=seed, optimizer={"learning_rate": rate}), 200)
    assert task.validate(task.model)["accuracy.validation"] > 0.85


@pytest.mark.parametrize("seed", [0, 1])
def test_the_dead_relus_are_dead_in_several_layers(seed):
    task, _, _ = train(spec_of("sick-dead-relu", seed=seed), 120)
    shares = []
    for layer in task.model.layers:
        layer.activation.register_forward_hook(
            lambda module, arguments, output: shares.append((output == 0).float().mean())
        )
    task.model(task.probe_batch(512)[0])
    assert sum(share > 0.9 for share in shares) >= 4
    assert torch.stack(shares).mean() > 0.93
