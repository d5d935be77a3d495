from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from gyrostat.probes.moments import WIDTH, chunked_moments, flattened, fused_moments, moments, native_moments, stacked
from gyrostat.probes.native import kernels

CPU = torch.device("cpu")
SIZES = (1, 2, 7, 1000, 2048, 2049, 65_536, 200_001)


def native(flat: Tensor) -> list[float]:
    kernels.prepare(wait=True)
    if kernels.library is None:
        pytest.skip("there is no C compiler")
    return native_moments([flat], kernels.library)[0].tolist()


def chunked(flat: Tensor) -> list[float]:
    return [float(value) for value in chunked_moments(flat)]


def fused(flat: Tensor) -> list[float]:
    return [float(value) for value in fused_moments(flat)]


WAYS = pytest.mark.parametrize("way", [native, chunked, fused])


def reference(tensor: Tensor) -> list[float]:
    x = tensor.double().numpy().ravel()
    with np.errstate(all="ignore"):
        powers = [x, x * x, x * x * x, x * x * x * x]
        return [*(p.sum() for p in powers), np.abs(x).max(), (x == 0).sum(), (~np.isfinite(x)).sum()]


def scales(tensor: Tensor) -> list[float]:
    """What errors are measured against: the sums of magnitudes, since those with signs may cancel."""
    return reference(tensor.abs())


def central(row: list[float], count: int) -> tuple[float, float]:
    """Second and fourth central moment from power sums."""
    mean, s2, s3, s4 = (value / count for value in row[:4])
    return s2 - mean**2, s4 - 4 * mean * s3 + 6 * mean**2 * s2 - 3 * mean**4


@WAYS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", SIZES)
def test_every_way_agrees_with_numpy(way: Callable[[Tensor], list[float]], dtype: torch.dtype, size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    drawn = torch.randn(size, generator=generator)
    for flat in (drawn.to(dtype), drawn.relu().to(dtype), torch.full((size,), -0.3).to(dtype)):
        found, expected = way(flat), reference(flat)
        for value, wanted, scale in zip(found[:4], expected[:4], scales(flat)[:4], strict=True):
            assert value == pytest.approx(wanted, abs=5e-6 * scale)
        assert found[4:] == expected[4:]


@WAYS
@pytest.mark.parametrize("scale", [1e-38, 1e-30, 1e-10, 1e-4, 1e4, 1e9, 1e30, 1e38])
def test_magnitudes_whose_powers_are_no_float32(way: Callable[[Tensor], list[float]], scale: float) -> None:
    flat = torch.linspace(-1, 3, 5001) * (scale / 3)
    found = way(flat)
    for value, wanted, size in zip(found[:4], reference(flat)[:4], scales(flat)[:4], strict=True):
        assert value == pytest.approx(wanted, abs=5e-6 * size)
    assert found[4:] == reference(flat)[4:]


@WAYS
def test_denormals_are_neither_zeros_nor_lost(way: Callable[[Tensor], list[float]]) -> None:
    flat = torch.tensor([1e-45, -3e-42, 0.0, -0.0, 5e-39])
    found = way(flat)
    assert found[:4] == pytest.approx(reference(flat)[:4], rel=1e-6)
    assert found[4:] == [float(flat.max()), 2, 0]


@WAYS
@pytest.mark.parametrize("deviations", [0, 1, 10, 100])
def test_central_moments_survive_a_large_mean(way: Callable[[Tensor], list[float]], deviations: int) -> None:
    flat = torch.randn(100_003, generator=torch.Generator().manual_seed(0)) * 0.5 - 0.5 * deviations
    x = flat.double().numpy()
    away = x - x.mean()
    variance, fourth = central(way(flat), len(x))
    assert variance == pytest.approx((away**2).mean(), rel=1e-5)
    assert fourth == pytest.approx((away**4).mean(), rel=1e-5)


@WAYS
def test_central_moments_survive_an_outlier_that_shifts_one_blocks_mean(way: Callable[[Tensor], list[float]]) -> None:
    flat = torch.randn(20_000, generator=torch.Generator().manual_seed(1)) + 3
    flat[3000] = 1e6
    x = flat.double().numpy()
    away = x - x.mean()
    variance, fourth = central(way(flat), len(x))
    assert variance == pytest.approx((away**2).mean(), rel=1e-5)
    assert fourth == pytest.approx((away**4).mean(), rel=1e-5)


@WAYS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_nan_and_infinity_show_in_sums_and_largest_and_are_counted(
    way: Callable[[Tensor], list[float]], dtype: torch.dtype
) -> None:
    with_nan = way(torch.tensor([0.0, -0.0, torch.nan, 1.0, torch.inf, -5.0], dtype=dtype))
    assert np.isnan(with_nan[:5]).all()
    assert with_nan[5:] == [2, 2]
    infinite = torch.tensor([0.0, -torch.inf, 7.0], dtype=dtype)
    assert way(infinite) == [-np.inf, np.inf, -np.inf, np.inf, np.inf, 1, 1]
    assert np.isnan(way(torch.tensor([torch.inf, -torch.inf], dtype=dtype))[0])


@WAYS
@pytest.mark.parametrize("at", [0, 2047, 2048, 150_000, 199_999])
def test_one_nan_anywhere_shows(way: Callable[[Tensor], list[float]], at: int) -> None:
    flat = torch.ones(200_000)
    flat[at] = torch.nan
    found = way(flat)
    assert np.isnan(found[:5]).all()
    assert found[5:] == [0, 1]
    flat[at], flat[(at + 50_000) % 200_000] = torch.inf, torch.nan
    assert np.isnan(way(flat)[4])


@WAYS
def test_finite_values_whose_sum_or_powers_overflow_are_finite_values(way: Callable[[Tensor], list[float]]) -> None:
    flat = torch.full((4096,), 3e38)
    found = way(flat)
    assert found[:4] == pytest.approx(reference(flat)[:4], rel=1e-6)
    assert found[4:] == reference(flat)[4:]


@pytest.mark.parametrize("compiled", [True, False])
def test_transposed_expanded_and_channels_last_tensors_are_read_whole(
    compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    native(torch.ones(1))
    if not compiled:
        monkeypatch.setattr(kernels, "library", None)
    base = torch.arange(24.0).reshape(2, 3, 4)
    images = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    several = (
        base.transpose(0, 2),
        base[:, ::2],
        base[:, :1].expand(2, 5, 4),
        images,
        torch.tensor(2.0),
        torch.tensor(3.0).expand(4, 5),
    )
    for tensor in several:
        for value, wanted, scale in zip(moments(tensor), reference(tensor), scales(tensor), strict=True):
            assert value == pytest.approx(wanted, abs=5e-6 * scale)
    if kernels.library is not None:
        rows = native_moments([flattened(tensor) for tensor in (*several, torch.zeros(0))], kernels.library)
        assert rows[:-1].tolist() == [list(moments(tensor)) for tensor in several]
        assert rows[-1].tolist() == [0.0] * WIDTH


def test_the_kernel_keeps_to_the_bounds_of_unaligned_tensors() -> None:
    memory = torch.full((5000,), torch.nan)
    for start, length in ((1, 1), (3, 17), (5, 2048), (7, 4097)):
        memory.fill_(torch.nan)
        memory[start : start + length] = 2.0
        assert native(memory[start : start + length])[0] == 2.0 * length


def test_chunks_of_an_accelerator_are_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gyrostat.probes.moments._DEVICE_CHUNK", 1000)
    flat = torch.randn(2500, generator=torch.Generator().manual_seed(2)).relu()
    assert fused(flat) == pytest.approx(reference(flat), rel=1e-9)


def test_rows_of_floats_and_of_tensors_stack_alike() -> None:
    flat = torch.tensor([1.0, 0.0, -3.0])
    rows = stacked([chunked_moments(flat), fused_moments(flat)], CPU)
    np.testing.assert_allclose(rows.numpy(), [[-2, 10, -26, 82, 3, 1, 0]] * 2, rtol=1e-6)
