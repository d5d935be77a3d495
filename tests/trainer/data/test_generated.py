import math

import pytest
import torch

from gyrostat.spec.data import BreastCancer, Gaussians, Imbalanced, Iris, Shapes, Wine
from trainer.data.datasets import load


@pytest.mark.parametrize("settings", [BreastCancer(), Wine(), Iris()], ids=lambda settings: settings.kind)
def test_bundled_tables_are_what_their_entry_says(settings):
    data = load(settings)
    assert tuple(data.inputs.shape) == (settings.num_rows(), *settings.sample_shape())
    assert data.outputs == settings.num_outputs()
    assert sorted(data.targets.unique().tolist()) == list(range(data.outputs))


def test_one_class_is_as_rare_as_it_shall_be_and_learnable():
    data = load(Imbalanced(rows=2000, rare_fraction=0.1))
    assert tuple(data.inputs.shape) == (2000, 20)
    assert data.targets.float().mean().item() == pytest.approx(0.1, abs=0.002)
    assert torch.equal(data.inputs, load(Imbalanced(rows=2000, rare_fraction=0.1)).inputs)
    assert not torch.equal(data.inputs, load(Imbalanced(rows=2000, rare_fraction=0.1, seed=1)).inputs)


def test_points_lie_around_centres_on_a_circle():
    data = load(Gaussians(modes=5, spread=0.2, rows=5000))
    assert data.targets.bincount().tolist() == [1000] * 5
    for mode in range(5):
        points = data.inputs[data.targets == mode]
        angle = 2 * math.pi * mode / 5
        assert points.mean(0).tolist() == pytest.approx([2 * math.cos(angle), 2 * math.sin(angle)], abs=0.03)
        assert points.std(0).tolist() == pytest.approx([0.2, 0.2], rel=0.1)


@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_are_brighter_than_the_background_and_their_masks_say_where(channels):
    data = load(Shapes(rows=60, size=24, channels=channels, noise=0.0))
    assert tuple(data.inputs.shape) == (60, channels, 24, 24)
    assert (tuple(data.targets.shape), data.targets.dtype, data.outputs) == ((60, 24, 24), torch.int64, 4)
    assert torch.equal((data.inputs > 0).all(1), data.targets > 0)
    inside = data.inputs.movedim(1, -1)[data.targets > 0]
    assert 0.5 <= inside.min() < inside.max() <= 1
    assert set(data.targets.unique().tolist()) == {0, 1, 2, 3}
    assert (data.targets > 0).flatten(1).any(1).all()


def test_shapes_have_the_form_and_the_sizes_that_they_shall_have():
    data = load(Shapes(rows=400, size=64, objects=1, noise=0.0))
    widths = []
    for mask in data.targets:
        kind = int(mask.max())
        rows, columns = (mask > 0).any(1).nonzero(), (mask > 0).any(0).nonzero()
        height, width = (int(ends.max() - ends.min()) + 1 for ends in (rows, columns))
        filled = (mask > 0).sum().item() / (height * width)
        expected = {1: math.pi / 4, 2: 1.0, 3: 0.5}[kind]
        assert filled == pytest.approx(expected, abs=0.2 if width < 12 else 0.1)
        widths.append(width)
    assert 64 / 8 - 1 <= min(widths) < 64 / 6
    assert 64 / 2.5 < max(widths) <= 64 / 2 + 1


def test_noise_and_seed_of_shapes_are_as_set():
    clean, noisy = load(Shapes(rows=50, noise=0.0)), load(Shapes(rows=50, noise=0.3))
    assert torch.equal(clean.targets, noisy.targets)
    assert (noisy.inputs - clean.inputs).std().item() == pytest.approx(0.3, rel=0.05)
    assert not torch.equal(load(Shapes(rows=50, seed=1)).targets, clean.targets)


def test_the_first_images_do_not_depend_on_how_many_there_are_beyond_a_thousand():
    few, many = load(Shapes(rows=1000, size=8)), load(Shapes(rows=1007, size=8))
    assert torch.equal(many.inputs[:1000], few.inputs)
    assert len(many.inputs) == 1007
