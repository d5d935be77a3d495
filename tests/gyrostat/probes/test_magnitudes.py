import numpy as np
import pytest
import torch
from torch import Tensor

from gyrostat.probes.magnitudes import SAMPLE, WHOLE, _foreach_rows, magnitudes
from gyrostat.probes.native import kernels

CPU = torch.device("cpu")


pytestmark = pytest.mark.usefixtures("either_way")


def reference(tensor: Tensor) -> list[float]:
    x = np.abs(tensor.to_dense().to(torch.complex128).numpy())
    return [float(np.sqrt((x**2).sum())), float(x.max()), float((x == 0).mean()), float((~np.isfinite(x)).sum())]


def drawn(size: int, number_format: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(size)
    return torch.randn(size, generator=generator).clamp(min=-0.5).relu().to(number_format)


def error_of_zeros(tensor: Tensor) -> float:
    """Three standard errors of a fraction of 1/2, where zeros are counted in a sample."""
    return 0.0 if kernels.library is not None or tensor.numel() <= WHOLE else 1.5 / SAMPLE**0.5


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e30])
def test_each_of_a_mixture_is_what_numpy_finds_in_float64(scale: float) -> None:
    tensors = [scale * drawn(n, kind) for n in (1, 10, 1_000, 300_000) for kind in (torch.float32, torch.float64)]
    tensors += [drawn(1_000, torch.bfloat16), drawn(77, torch.float16), drawn(60, torch.float32).view(3, 4, 5).mT]
    tensors += [torch.complex(drawn(30, torch.float32), drawn(30, torch.float32))]
    found = magnitudes(tensors, CPU)
    for at, tensor in enumerate(tensors):
        norm, largest, zeros, nonfinite = (float(column[at]) for column in found)
        expected = reference(tensor)
        assert [norm, largest, nonfinite] == pytest.approx([*expected[:2], expected[3]], rel=1e-5), tensor.dtype
        assert zeros == pytest.approx(expected[2], rel=1e-5, abs=error_of_zeros(tensor)), tensor.dtype


def test_repeated_rows_of_a_sparse_tensor_are_added_up_and_what_it_leaves_out_is_zero() -> None:
    rows = torch.tensor([[1, 4, 1, 3]])
    values = torch.tensor([[1.0, 0.0], [2.0, 2.0], [2.0, -5.0], [0.0, torch.inf]])
    sparse = torch.sparse_coo_tensor(rows, values, (10, 2), check_invariants=True)
    assert [float(column[0]) for column in magnitudes([sparse], CPU)] == reference(sparse)


def test_what_is_not_finite_is_counted_and_seen() -> None:
    tensors = [torch.tensor([1.0, torch.nan, -torch.inf, 0.0]), torch.tensor([-torch.inf, 2.0])]
    found = magnitudes([*tensors, torch.zeros(3), torch.zeros(0)], CPU)
    np.testing.assert_array_equal(found.norms, [np.nan, np.inf, 0, 0])
    np.testing.assert_array_equal(found.largest, [np.nan, np.inf, 0, 0])
    np.testing.assert_array_equal(found.zero_fraction, [0.25, 0, 1, 0])
    np.testing.assert_array_equal(found.nonfinite, [2, 1, 0, 0])
    assert all(column.shape == (0,) for column in magnitudes([], CPU))


@pytest.mark.parametrize("at", [0, 24_999, 25_000, 49_000, 60_000, 75_001, 99_999, 100_002])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e30, 1e-30])
def test_one_element_shows_wherever_it_lies_in_a_large_gradient(at: int, value: float) -> None:
    gradient = drawn(100_003, torch.float32) if value > 1 else torch.zeros(100_003)
    gradient[at] = value
    norm, largest, zeros, nonfinite = (float(column[0]) for column in magnitudes([gradient], CPU))
    expected = reference(gradient)
    np.testing.assert_allclose([norm, largest, nonfinite], [*expected[:2], expected[3]], rtol=1e-6)
    assert zeros == pytest.approx(expected[2], abs=error_of_zeros(gradient))


@pytest.mark.parametrize("number_format", [torch.float32, torch.float64, torch.bfloat16])
def test_the_way_of_accelerators_finds_the_same(number_format: torch.dtype) -> None:
    broken = torch.tensor([1.0, torch.nan, -torch.inf, 0.0, 0.0], dtype=number_format)
    tensors = [drawn(size, number_format) for size in (1, 50, 70_000)] + [broken]
    norm, largest, zeros, nonfinite = _foreach_rows(tensors).T
    found = magnitudes(tensors, CPU)
    sizes = torch.tensor([tensor.numel() for tensor in tensors])
    for ours, theirs in zip((norm, largest, nonfinite), (found.norms, found.largest, found.nonfinite), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0, equal_nan=True)
    for fraction, theirs, tensor in zip(zeros / sizes, found.zero_fraction, tensors, strict=True):
        assert float(theirs) == pytest.approx(float(fraction), rel=1e-5, abs=error_of_zeros(tensor))


@pytest.mark.parametrize("shape", [(512, 512), (100, 4096), (300_001,)])
def test_zeros_of_a_large_gradient_are_told_within_their_error_wherever_they_lie(shape: tuple[int, ...]) -> None:
    errors = []
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        gradient = torch.randn(shape, generator=generator)
        flat = gradient.view(-1, 64) if seed % 2 and gradient.numel() % 64 == 0 else gradient.view(-1, 1)
        flat[torch.rand(len(flat), generator=generator) < 0.3] = 0  # elements, or runs of them as of dead units
        errors.append(float(magnitudes([gradient], CPU).zero_fraction[0]) - float((gradient == 0).double().mean()))
    assert np.abs(errors).max() <= 4 * 0.46 / SAMPLE**0.5
    if kernels.library is not None:
        assert not any(errors)


def test_a_hundred_million_elements_are_summed_without_losing_any() -> None:
    found = magnitudes([torch.full((10**8,), 0.5, dtype=torch.bfloat16)], CPU)
    assert [float(column[0]) for column in found] == pytest.approx([5_000, 0.5, 0, 0], rel=1e-6)
