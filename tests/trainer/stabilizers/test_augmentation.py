import pytest
import torch
from torch.nn import functional

from gyrostat.spec.augmentation import Affine, ColourJitter, Crop, Flip, NoiseAugmentation
from trainer.stabilizers.augmentation import Augmentations, ValueRange

EVERY = (Affine(), Flip(), Crop(), ColourJitter(), NoiseAugmentation())
every = pytest.mark.parametrize("settings", EVERY, ids=lambda settings: settings.kind)


def images(count: int = 16, channels: int = 1, size: int = 8) -> torch.Tensor:
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(0))


def masks(count: int = 16, size: int = 8) -> torch.Tensor:
    return torch.randint(4, (count, size, size), generator=torch.Generator().manual_seed(1))


def augmented(settings, x, y=None, seed=0):
    made = Augmentations(settings, tuple(x.shape[-2:]), ValueRange.of(x))
    return made(x, y, torch.Generator().manual_seed(seed))


@every
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_types_and_ranges_stay(settings, channels):
    x, y = images(channels=channels), masks()
    changed, moved = augmented([settings], x, y)
    assert changed.shape == x.shape
    assert changed.dtype == x.dtype
    assert (moved.shape, moved.dtype) == (y.shape, y.dtype)
    assert set(moved.unique().tolist()) <= set(y.unique().tolist())
    if settings.kind != "noise":
        assert x.min() - 1e-5 <= changed.min() <= changed.max() <= x.max() + 1e-5


@every
def test_what_comes_out_is_a_function_of_the_seed_and_leaves_the_global_generator_alone(settings):
    state = torch.get_rng_state()
    one, again, other = (augmented([settings], images(), seed=seed)[0] for seed in (3, 3, 4))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)


@every
def test_each_sample_is_changed_with_its_probability(settings):
    x = images(count=400)

    def share(probability: float) -> float:
        changed, _ = augmented([settings.model_copy(update={"probability": probability})], x)
        return (changed != x).flatten(1).any(1).float().mean().item()

    assert share(0) == 0
    assert share(0.5) == pytest.approx(0.5, abs=0.1)
    assert share(1) > 0.85  # a crop may draw the image's own place, a flip finds no symmetric image


@pytest.mark.parametrize(("direction", "axis"), [("horizontal", -1), ("vertical", -2)])
def test_a_flip_mirrors_image_and_mask(direction, axis):
    x, y = images(), masks()
    changed, moved = augmented([Flip(probability=1.0, direction=direction)], x, y)
    assert torch.equal(changed, x.flip(axis))
    assert torch.equal(moved, y.flip(axis))


def test_a_crop_is_a_window_of_the_image_with_its_border_continued_and_the_mask_s_is_the_same():
    x, y = images(count=200), masks(count=200)
    changed, moved = augmented([Crop(padding=0.125)], x, y)
    wide = functional.pad(x, (1, 1, 1, 1), mode="replicate")
    wide_masks = functional.pad(y.unsqueeze(1).float(), (1, 1, 1, 1), mode="replicate").squeeze(1).long()
    found = torch.zeros(200, dtype=torch.long)
    places = set()
    for top in range(3):
        for left in range(3):
            here = (slice(None), slice(top, top + 8), slice(left, left + 8))
            same = (changed[:, 0] == wide[:, 0][here]).flatten(1).all(1) & (moved == wide_masks[here]).flatten(1).all(1)
            found += same
            places |= {(top, left)} if same.any() else set()
    assert (found == 1).all()
    assert len(places) == 9


def test_a_mask_moves_with_its_image():
    y = torch.zeros(64, 24, 24, dtype=torch.long)
    y[:, 6:18, 8:14] = 1
    x = y.unsqueeze(1).float()
    changed, moved = augmented([Affine(degrees=45.0, translate=0.2, scale=0.2, shear=10.0)], x, y)
    # where no edge is near, interpolation leaves the value: the mask must have the same one
    certain = (changed[:, 0] < 1e-6) | (changed[:, 0] > 1 - 1e-6)
    assert certain.float().mean() > 0.7
    assert torch.equal(moved[certain], changed[:, 0][certain].round().long())
    assert (moved != y).flatten(1).any(1).float().mean() > 0.95


def test_an_affine_change_stays_within_its_bounds():
    size = 33
    x = torch.zeros(300, 1, size, size)
    x[:, :, 12:21, 12:21] = 1
    changed, _ = augmented([Affine(degrees=0.0, translate=0.1, scale=0.2)], x)
    place = torch.arange(size, dtype=torch.float32)
    for axis in (2, 3):
        profile = changed.sum(dim=(1, 5 - axis))
        centre = (profile * place).sum(1) / profile.sum(1)
        assert (centre - 16).abs().max() <= 0.1 * size + 0.1
        assert (centre - 16).abs().max() > 0.05 * size
    side = changed.sum((1, 2, 3)).sqrt()
    assert 9 * 0.8 - 0.5 <= side.min() < 8.5
    assert 9.5 < side.max() <= 9 * 1.2 + 0.5


def test_brightness_scales_values_of_the_data_s_own_range():
    x = images(count=50)
    values = ValueRange(torch.full((1, 1, 1), -8.0), torch.full((1, 1, 1), 8.0))
    made = Augmentations([ColourJitter(brightness=0.3, contrast=0.0)], (8, 8), values)
    changed, _ = made(x, None, torch.Generator().manual_seed(0))
    factors = ((changed + 8) / (x + 8)).flatten(1)
    inside = (changed < 8 - 1e-4).flatten(1)
    for row, kept in zip(factors, inside, strict=True):
        assert row[kept].std() < 1e-5
    means = torch.stack([row[kept].mean() for row, kept in zip(factors, inside, strict=True)])
    assert 0.7 <= means.min() < 0.8
    assert 1.2 < means.max() <= 1.3


def test_contrast_scales_distances_from_the_mean():
    x = images(count=50) * 0.1
    values = ValueRange(torch.full((1, 1, 1), -8.0), torch.full((1, 1, 1), 8.0))
    made = Augmentations([ColourJitter(brightness=0.0, contrast=0.4)], (8, 8), values)
    changed, _ = made(x, None, torch.Generator().manual_seed(0))
    torch.testing.assert_close(changed.mean((1, 2, 3)), x.mean((1, 2, 3)), atol=1e-4, rtol=0)
    ratio = changed.std((1, 2, 3)) / x.std((1, 2, 3))
    assert 0.6 - 1e-3 <= ratio.min() < 0.75
    assert 1.25 < ratio.max() <= 1.4 + 1e-3


def test_noise_has_its_deviation():
    x = images(count=200)
    changed, _ = augmented([NoiseAugmentation(probability=1.0, sigma=0.3)], x)
    assert (changed - x).std().item() == pytest.approx(0.3, rel=0.05)
    assert (changed - x).mean().item() == pytest.approx(0, abs=0.02)


def test_a_value_range_goes_to_the_unit_interval_and_back_channel_by_channel():
    x = images(channels=3) * torch.tensor([1.0, 5.0, 0.0]).view(3, 1, 1) + 2
    values = ValueRange.of(x)
    unit = values.to_unit(x)
    assert [(low, high) for low, high in zip(unit.amin((0, 2, 3)), unit.amax((0, 2, 3)), strict=True)] == [
        (0, 1),
        (0, 1),
        (0, 0),
    ]
    torch.testing.assert_close(values.from_unit(unit), x)
