from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gyrostat.probes.channels import SATURATED, Bounds, channel_axis, medians, read, saturation_bounds
from gyrostat.probes.moments import moments
from gyrostat.probes.native import kernels

pytestmark = pytest.mark.usefixtures("either_way")


def check(output: Tensor, axis: int, bounds: Bounds | None) -> None:
    found = read(output, axis, bounds)
    assert found.squares is not None
    assert found.alive is not None
    x = np.moveaxis(output.double().numpy(), axis, -1).reshape(-1, output.shape[axis])
    np.testing.assert_allclose(found.squares.numpy(), (x**2).sum(0), rtol=1e-5)
    np.testing.assert_array_equal(found.alive.numpy(), (x != 0).any(0))
    low, high = bounds or (-np.inf, np.inf)
    assert found.row[SATURATED] == ((x <= low) | (x >= high)).sum()
    # both add up a block of elements in float32, in another order: a few units of its last place (6e-8) each
    assert found.row[:SATURATED].tolist() == pytest.approx(list(moments(output)), rel=4e-6, abs=1e-4)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    output = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).relu()
    output.movedim(1, 0)[:: max(2, shape[1] // 3)] = 0
    return output


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bounds", [None, (0.25, 1.5), (-torch.inf, 0.5)])
def test_units_of_every_shape_are_numpys(dtype: torch.dtype, bounds: Bounds | None) -> None:
    for shape, axis in (
        ((7, 5), 1), ((300, 33), 1), ((3, 5000), 1), ((1, 1), 1), ((4, 9, 50), 2), ((2, 6, 33), 1),
        ((3, 16, 5, 7), 1), ((2, 3, 64, 64), 1), ((2, 70, 8, 8), 1), ((2, 3, 2, 4, 5), 1),
    ):  # fmt: skip
        check(drawn(*shape).to(dtype), axis, bounds)


@pytest.mark.parametrize("shift", [0.0, 5.0])
@pytest.mark.parametrize(
    "shape", [(9, 17_000), (3, 33_000), (1000, 1), (331, 3), (70, 1025), (4, 16_385), (131, 3, 70), (5, 700, 49)]
)
def test_rows_that_are_read_together_or_in_parts_are_numpys(shape: tuple[int, ...], shift: float) -> None:
    output = (drawn(*shape, seed=1) + shift * torch.randn(shape, generator=torch.Generator().manual_seed(2))).relu()
    for value in (None, torch.inf, 1e30):
        if value is not None:  # its part is read with care, the others are not
            output[-1, -1] = value
        found, x = read(output, 1, (0.25, 1.5)), output.double().numpy()
        axes = (0, *range(2, len(shape)))
        assert found.squares is not None
        np.testing.assert_allclose(found.squares.numpy(), (x**2).sum(axes), rtol=1e-5)
        powers = [x.sum(), (x**2).sum(), (x**3).sum(), (x**4).sum()]
        np.testing.assert_allclose(found.row.numpy()[:4], powers, rtol=1e-5)
        counts = [np.abs(x).max(), (x == 0).sum(), (~np.isfinite(x)).sum(), ((x <= 0.25) | (x >= 1.5)).sum()]
        np.testing.assert_array_equal(found.row.numpy()[4:], np.float32(counts))


def test_channels_last_and_transposed_memory() -> None:
    images = drawn(3, 16, 5, 7)
    check(images.contiguous(memory_format=torch.channels_last), 1, None)
    check(images.transpose(0, 1), 0, (0.1, 1.0))
    check(images.transpose(2, 3), 1, None)
    check(drawn(6, 40)[:, ::2], 1, None)
    check(drawn(1, 8).expand(5, 8), 1, None)


@pytest.mark.parametrize("scale", [1e-40, 1e-30, 1e-15, 1e18, 1e30])
def test_a_unit_of_tiny_or_huge_values_is_alive_and_has_squares(scale: float) -> None:
    output = drawn(40, 12) * scale
    found = read(output, 1, None)
    assert found.alive is not None
    np.testing.assert_array_equal(found.alive.numpy(), (output.numpy() != 0).any(0))
    if kernels.library is not None:
        check(output, 1, None)


@pytest.mark.parametrize("shape", [(300, 33), (50, 600), (60, 9, 5), (3, 16, 8, 8), (2, 3, 40, 40)])
def test_a_unit_whose_squares_vanish_beside_those_of_others_is_alive(shape: tuple[int, ...]) -> None:
    output = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    output[:, 1], output[:, 2] = 0, 0
    output[-1, 1] = 1e-30
    found = read(output, 1, None)
    assert found.alive is not None
    assert (~found.alive).nonzero().view(-1).tolist() == [2]


def test_a_unit_that_is_not_finite_is_alive_and_shows() -> None:
    output = torch.zeros(3, 3)
    output[1, 0], output[2, 1] = torch.nan, torch.inf
    found = read(output, 1, None)
    assert found.squares is not None
    assert found.alive is not None
    np.testing.assert_array_equal(found.squares.numpy(), [np.nan, np.inf, 0])
    assert found.alive.tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("module", "shape", "axis"),
    [
        (nn.Linear(1, 1), (4, 5), 1), (nn.Linear(1, 1), (4, 3, 5), 2), (nn.Linear(1, 1), (4, 3, 3, 5), 3),
        (nn.LayerNorm(1), (2, 4, 4, 8), 3), (nn.Embedding(2, 2), (4, 3, 5), 2),
        (nn.Conv1d(1, 1, 1), (4, 5, 9), 1), (nn.BatchNorm1d(1), (4, 5, 9), 1), (nn.Conv2d(1, 1, 1), (2, 3, 4, 4), 1),
        (nn.ReLU(), (4, 5), 1), (nn.ReLU(), (4, 3, 5), 2), (nn.ReLU(), (4, 3, 8, 8), 1),
        (nn.ReLU(), (4,), None), (nn.ReLU(), (), None),
    ],
)  # fmt: skip
def test_which_axis_units_are_along(module: nn.Module, shape: tuple[int, ...], axis: int | None) -> None:
    assert channel_axis(module, torch.zeros(shape)) == axis


def test_a_module_may_say_which_axis_it_is() -> None:
    module = nn.Identity()
    module.channel_axis = 1  # type: ignore[assignment]
    assert channel_axis(module, torch.zeros(4, 3, 5)) == 1
    module.channel_axis = -1  # type: ignore[assignment]
    assert channel_axis(module, torch.zeros(4, 3, 5, 6)) == 3
    assert channel_axis(module, torch.zeros(())) is None


class Own(nn.Module):
    bounds = (-2.0, 2.0)


@pytest.mark.parametrize(
    ("module", "bounds"),
    [
        (nn.Tanh(), (-0.98, 0.98)), (nn.Sigmoid(), (0.01, 0.99)), (nn.Softsign(), (-0.98, 0.98)),
        (nn.Hardtanh(-2, 3), (-2, 3)), (nn.Hardsigmoid(), (0, 1)), (nn.ReLU6(), (-np.inf, 6)), (Own(), (-1.96, 1.96)),
        (nn.ReLU(), None), (nn.Softmax(-1), None), (nn.GELU(), None), (nn.Linear(1, 1), None),
    ],
)  # fmt: skip
def test_bounds_of_saturation(module: nn.Module, bounds: Any) -> None:
    found = saturation_bounds(module, 0.01)
    assert found is None if bounds is None else found == pytest.approx(bounds)


def test_medians_are_the_lower_ones() -> None:
    generator = np.random.default_rng(0)
    segments = [generator.normal(size=n) for n in (1, 2, 3, 10, 101, 512)] + [np.repeat([1.0, 2.0], 20), np.zeros(7)]
    found = medians(torch.from_numpy(np.concatenate(segments)), [len(segment) for segment in segments])
    assert found.tolist() == [np.sort(segment)[(len(segment) - 1) // 2] for segment in segments]
    with_nan = medians(torch.tensor([1.0, np.nan, 2.0, 3.0, 4.0, 5.0]).double(), [3, 3])
    np.testing.assert_array_equal(with_nan.numpy(), [np.nan, 4])
