import numpy as np
import pytest
import torch

from gyrostat.probes.moments import chunked_moments, fused_moments, moments, stacked


def reference(tensor: torch.Tensor) -> list[float]:
    x = tensor.double().numpy()
    return [x.sum(), (x**2).sum(), np.abs(x).max(), (x == 0).sum()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [1, 1000, 65_536, 200_001])
def test_both_ways_agree_with_numpy(dtype: torch.dtype, size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    flat = (torch.randn(size, generator=generator).relu() + 0.0).to(dtype)
    for way in (chunked_moments, fused_moments):
        assert [float(v) for v in way(flat)] == pytest.approx(reference(flat), rel=1e-4), way.__name__


def test_transposed_expanded_and_channels_last_tensors_are_read_whole() -> None:
    base = torch.arange(24.0).reshape(2, 3, 4)
    images = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    for tensor in (base.transpose(0, 2), base[:, ::2], base[:, :1].expand(2, 5, 4), images, torch.tensor(2.0)):
        assert list(moments(tensor)) == pytest.approx(reference(tensor), rel=1e-5)


def test_nan_and_infinity_show_everywhere_but_in_the_zeros() -> None:
    for way in (chunked_moments, fused_moments):
        with_nan = [float(v) for v in way(torch.tensor([0.0, 0.0, torch.nan, 1.0, -5.0]))]
        assert np.isnan(with_nan[:3]).all()
        assert with_nan[3] == 2
        assert [float(v) for v in way(torch.tensor([0.0, -torch.inf]))] == [-np.inf, np.inf, np.inf, 1]
    late = torch.ones(100_000)
    late[-1] = torch.nan
    assert np.isnan(chunked_moments(late)[:3]).all()


def test_squares_outside_of_float32_are_summed_all_the_same() -> None:
    for scale in (1e-30, 1e25):
        found = chunked_moments(torch.full((1000,), scale))
        assert found.squares == pytest.approx(1000 * float(torch.tensor(scale)) ** 2)


def test_rows_of_floats_and_of_tensors_stack_alike() -> None:
    flat = torch.tensor([1.0, 0.0, -3.0])
    rows = stacked([chunked_moments(flat), fused_moments(flat)], torch.device("cpu"))
    np.testing.assert_array_equal(rows.numpy(), [[-2, 10, 3, 1]] * 2)
