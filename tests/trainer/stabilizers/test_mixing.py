import numpy
import pytest
import torch
from scipy import stats

from gyrostat.spec.mixing import CutMix, Mixup
from trainer.stabilizers.mixing import mixing, one_hot


def of(settings, seed=0, shape=(1, 8, 8), count=6):
    return mixing(settings, shape, count, torch.Generator().manual_seed(seed))


@pytest.fixture
def batch():
    draw = torch.Generator().manual_seed(0)
    return torch.randn(6, 1, 8, 8, generator=draw), torch.randint(3, (6,), generator=draw)


def test_mixup_is_the_weighted_mean_of_two_samples_and_of_their_labels(batch):
    x, y = batch
    mixed = of(Mixup(alpha=1.0))
    assert sorted(mixed.partner.tolist()) == list(range(6))
    labels = mixed.targets(one_hot(y, 3))
    for i, j in enumerate(mixed.partner.tolist()):
        torch.testing.assert_close(mixed.inputs(x)[i], mixed.weight * x[i] + (1 - mixed.weight) * x[j])
        wanted = torch.zeros(3)
        wanted[y[i]] += mixed.weight
        wanted[y[j]] += 1 - mixed.weight
        torch.testing.assert_close(labels[i], wanted)


def test_mixup_mixes_numbers_likewise():
    mixed, y = of(Mixup(alpha=1.0)), torch.arange(12.0).view(6, 2)
    torch.testing.assert_close(mixed.targets(one_hot(y, 99)), mixed.weight * y + (1 - mixed.weight) * y[mixed.partner])


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_lambda_is_drawn_from_the_beta_distribution(alpha):
    drawn = [of(Mixup(alpha=alpha), seed=seed, shape=(1,), count=1).weight for seed in range(800)]
    assert stats.kstest(drawn, stats.beta(alpha, alpha).cdf).pvalue > 0.001


@pytest.mark.parametrize("seed", range(12))
def test_cutmix_pastes_a_box_and_weighs_labels_by_the_pixels_it_kept(batch, seed):
    x, y = batch
    mixed = of(CutMix(), seed=seed)
    changed = mixed.inputs(x)
    rows, columns = mixed.box
    kept = torch.ones(8, 8, dtype=torch.bool)
    kept[rows, columns] = False
    assert mixed.weight == pytest.approx(kept.float().mean().item())
    for i, j in enumerate(mixed.partner.tolist()):
        assert torch.equal(changed[i, 0][kept], x[i, 0][kept])
        assert torch.equal(changed[i, 0][~kept], x[j, 0][~kept])
        wanted = torch.zeros(3)
        wanted[y[i]] += mixed.weight
        wanted[y[j]] += 1 - mixed.weight
        torch.testing.assert_close(mixed.targets(one_hot(y, 3))[i], wanted)


def test_a_box_that_is_not_clipped_has_the_area_that_was_drawn():
    """Where it is clipped, the label keeps more: by the pixels, never by the draw."""
    unclipped = 0
    for seed in range(300):
        rows, columns = of(CutMix(), seed=seed, shape=(1, 100, 100)).box
        sides = rows.stop - rows.start, columns.stop - columns.start
        if rows.start > 0 and rows.stop < 100 and columns.start > 0 and columns.stop < 100:
            unclipped += 1
            assert sides[0] == sides[1]
    assert unclipped > 30


def test_every_box_lies_within_the_image_whatever_its_shape():
    for seed in range(200):
        rows, columns = of(CutMix(alpha=0.3), seed=seed, shape=(3, 5, 9)).box
        assert 0 <= rows.start <= rows.stop <= 5
        assert 0 <= columns.start <= columns.stop <= 9


def test_a_batch_is_mixed_with_its_probability_and_else_stays(batch):
    x, y = batch
    mixed = [of(Mixup(alpha=1.0, probability=0.3), seed=seed) for seed in range(400)]
    assert numpy.mean([each.weight < 1 for each in mixed]) == pytest.approx(0.3, abs=0.08)
    same = next(each for each in mixed if each.weight == 1)
    assert torch.equal(same.inputs(x), x)
    assert torch.equal(same.targets(one_hot(y, 3)), one_hot(y, 3))


def test_mixing_is_a_function_of_the_seed_and_leaves_global_generators_alone():
    state, numbers = torch.get_rng_state(), numpy.random.get_state()[1].tolist()
    for settings in (Mixup(), CutMix()):
        one, again, other = (of(settings, seed=seed) for seed in (1, 1, 2))
        assert (one.weight, one.partner.tolist(), one.box) == (again.weight, again.partner.tolist(), again.box)
        assert one.weight != other.weight
    assert torch.equal(torch.get_rng_state(), state)
    assert numpy.random.get_state()[1].tolist() == numbers
