import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gyrostat.probes.frequency import MapAxes, spectral_centroid


def wave(cycles_down: int, cycles_across: int, height: int = 16, width: int = 12) -> Tensor:
    y, x = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    return (2 * math.pi * (cycles_down * y / height + cycles_across * x / width) + 0.3).cos()


@pytest.mark.parametrize("cycles", [(0, 1), (3, 0), (5, 2), (8, 6), (0, 6)])
def test_a_sinusoid_has_its_own_frequency_whatever_its_offset(cycles: tuple[int, int]) -> None:
    maps = (2 + 5 * wave(*cycles)).expand(3, 4, -1, -1)
    expected = math.hypot(cycles[0] / 16, cycles[1] / 12) / 0.5
    assert spectral_centroid(maps, (2, 3)).item() == pytest.approx(expected)


def test_two_sinusoids_weigh_by_their_energy_across_samples_and_channels() -> None:
    maps = torch.stack([3 * wave(1, 0), wave(4, 0)]).view(1, 2, 16, 12)
    assert spectral_centroid(maps, (2, 3)).item() == pytest.approx((9 * 1 / 8 + 4 / 8) / 10)
    assert spectral_centroid(maps.view(2, 1, 16, 12), (2, 3)).item() == pytest.approx((9 * 1 / 8 + 4 / 8) / 10)


@pytest.mark.parametrize(("axes", "shape"), [((1,), (3, 7, 5)), ((2, 3), (2, 3, 5, 8)), ((2, 3, 4), (2, 2, 3, 4, 5))])
def test_noise_has_the_centroid_that_numpy_finds(axes: tuple[int, ...], shape: tuple[int, ...]) -> None:
    maps = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    energy = np.abs(np.fft.fftn(maps.numpy(), axes=axes)) ** 2
    total = weighted = 0.0
    for place in np.ndindex(*shape):
        squared = sum((min(place[a], shape[a] - place[a]) / shape[a] / 0.5) ** 2 for a in axes)
        if squared:
            total += energy[place]
            weighted += energy[place] * squared**0.5
    assert spectral_centroid(maps, axes).item() == pytest.approx(weighted / total)


def test_even_maps_have_none_and_maps_that_are_not_finite_have_nan() -> None:
    even = torch.full((2, 3, 6, 6), 1 / 3, dtype=torch.float64)
    assert spectral_centroid(even, (2, 3)) == 0
    even[0, 0, 0, 0] = torch.inf
    assert spectral_centroid(even, (2, 3)).isnan()


def test_axes_of_maps_are_told_by_the_modules_that_say_where_channels_are() -> None:
    images, tokens, attended = torch.ones(2, 4, 6, 5), torch.ones(2, 7, 4), torch.ones(2, 2, 7, 7)
    maps = MapAxes()
    assert maps.of(nn.ReLU(), images) == ()
    assert maps.of(nn.Conv2d(1, 4, 1), images) == (2, 3)
    assert maps.of(nn.ReLU(), images) == (2, 3)
    assert maps.of(nn.MaxPool2d(2), torch.ones(2, 4, 1, 5)) == (3,)
    assert maps.of(nn.Dropout(), tokens) == ()
    assert maps.of(nn.Embedding(3, 4), tokens) == (1,)
    assert maps.of(nn.Identity(), attended) == ()
    assert maps.of(nn.GELU(), tokens) == (1,)
    assert maps.of(nn.Conv1d(7, 7, 1), tokens) == (2,)
    assert maps.of(nn.BatchNorm1d(4), torch.ones(2, 4)) == ()
    assert maps.of(nn.Linear(4, 4), torch.ones(2, 4)) == ()
    assert maps.of(nn.Linear(4, 4), torch.ones(2, 6, 5, 4)) == (1, 2)
