import numpy as np
import pytest
import torch

from gyrostat.probes.norms import global_norm, norms

CPU = torch.device("cpu")


def by_hand(tensor: torch.Tensor) -> float:
    return float(np.sqrt((tensor.double().numpy() ** 2).sum()))


def test_norms_are_those_of_a_loop_over_any_mixture_of_dtypes_and_shapes() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 4), (), (7,), (2, 3, 4), (300, 300)]
    dtypes = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
    tensors = [torch.randn(shape, generator=generator).to(dtype) for shape in shapes for dtype in dtypes]
    found = norms(tensors, CPU)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), [by_hand(t) for t in tensors], rtol=1e-5)
    assert global_norm(found).item() == pytest.approx(by_hand(torch.cat([t.double().reshape(-1) for t in tensors])))


@pytest.mark.parametrize("scale", [1e-40, 1e-30, 1e-20, 1e19, 1e30])
def test_elements_whose_squares_are_no_float32_still_have_a_norm(scale: float) -> None:
    tensor = torch.full((100_000,), scale)
    assert norms([tensor], CPU).item() == pytest.approx(float(tensor[0]) * 100_000**0.5, rel=1e-5)


def test_half_precision_does_not_overflow() -> None:
    assert norms([torch.full((10_000,), 600.0, dtype=torch.float16)], CPU).item() == pytest.approx(60_000, rel=1e-3)


def test_nothing_zeros_nan_and_infinity() -> None:
    found = norms([torch.zeros(5), torch.zeros(0), torch.tensor([1.0, torch.nan]), torch.tensor([-torch.inf])], CPU)
    np.testing.assert_array_equal(found.numpy(), [0, 0, np.nan, np.inf])
    assert norms([], CPU).shape == (0,)
    assert global_norm(norms([], CPU)).item() == 0


def test_sparse_gradients_count_repeated_rows_once_summed_and_complex_ones_by_magnitude() -> None:
    sparse = torch.sparse_coo_tensor(
        torch.tensor([[1, 1, 3]]), torch.tensor([[1.0], [2.0], [4.0]]), (5, 1), check_invariants=True
    )
    found = norms([sparse, torch.tensor([3 + 4j])], CPU)
    np.testing.assert_allclose(found.numpy(), [5, 5])
