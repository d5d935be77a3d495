import numpy as np
import pytest
import torch
from torch import Tensor

from gyrostat.probes.singular import Gram, Largest, largest_singular_values, power_iterations


def gram(matrices: Tensor) -> Gram:
    def product(vectors: Tensor) -> tuple[Tensor, Tensor]:
        images = torch.einsum("bmn,bn->bm", matrices, vectors)
        return images, torch.einsum("bmn,bm->bn", matrices, images)

    return product


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def true(matrices: Tensor) -> np.ndarray:
    return np.linalg.svd(matrices.double().numpy(), compute_uv=False)[:, 0]


def found(matrices: Tensor, seed: int = 1, **changes: float) -> Largest:
    start = random(len(matrices), matrices.shape[2], seed=seed, dtype=matrices.dtype)
    settings = {"tolerance": 1e-4, "max_products": 50} | changes
    return largest_singular_values(gram(matrices), start, **settings)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 1, 7), (5, 7, 1), (9, 40, 30), (3, 30, 200)])
def test_values_are_right_to_the_tolerance_that_they_state_over_many_seeds(
    shape: tuple[int, int, int], dtype: torch.dtype
) -> None:
    for seed in range(20):
        matrices = random(*shape, seed=seed, dtype=dtype)
        largest = found(matrices, seed=seed + 100)
        np.testing.assert_allclose(largest.values, true(matrices), rtol=1e-3)
        assert (largest.errors <= 1e-4).all()
        assert (largest.values <= true(matrices) * (1 + 1e-5)).all()
        images = torch.einsum("bmn,bn->bm", matrices, largest.vectors).norm(dim=1)
        np.testing.assert_allclose(images.double().numpy(), largest.values, rtol=1e-3)
        np.testing.assert_allclose(largest.vectors.norm(dim=1).double().numpy(), 1, rtol=1e-5)


def test_maps_that_end_at_different_times_do_not_disturb_one_another() -> None:
    clear, crowded = torch.zeros(30, 30, dtype=torch.float64), random(30, 30)
    clear[0, 0] = 5
    together = found(torch.stack([clear, crowded, 1e-6 * crowded, 1e6 * clear]))
    np.testing.assert_allclose(
        together.values, true(torch.stack([clear, crowded, 1e-6 * crowded, 1e6 * clear])), rtol=1e-3
    )
    assert together.products > found(clear[None]).products


def test_zero_and_rank_one_maps_end_at_once_and_a_nan_stays_with_its_own() -> None:
    matrices = torch.stack(
        [torch.zeros(4, 5), torch.outer(torch.ones(4), torch.ones(5)), random(4, 5).float(), random(4, 5).float()]
    )
    matrices[2, 1, 1] = torch.nan
    largest = found(matrices)
    assert largest.values[0] == 0
    assert largest.values[1] == pytest.approx(np.sqrt(20))
    assert np.isnan(largest.values[2])
    assert not largest.vectors[2].any()
    assert largest.values[3] == pytest.approx(true(matrices[3:])[0], rel=1e-3)


def test_it_restarts_when_its_basis_is_full_and_stops_at_the_limit() -> None:
    matrices = random(4, 50, 50)
    restarted = found(matrices, max_basis=4, max_products=300)
    np.testing.assert_allclose(restarted.values, true(matrices), rtol=1e-3)
    stopped = found(matrices, tolerance=1e-12, max_products=3)
    assert stopped.products == 3
    assert (stopped.values < true(matrices)).all()
    assert (stopped.errors > 1e-12).all()


def test_power_iterations_rise_to_the_value_and_go_on_from_their_vectors() -> None:
    matrices = random(3, 20, 15)
    sigma, vectors = power_iterations(gram(matrices), random(3, 15, seed=1), 5)
    assert (sigma.numpy() <= true(matrices)).all()
    for _ in range(40):
        further, vectors = power_iterations(gram(matrices), vectors, 5)
        assert (further >= sigma * (1 - 1e-12)).all()
        sigma = further
    np.testing.assert_allclose(sigma.numpy(), true(matrices), rtol=1e-3)
    nothing, vectors = power_iterations(gram(torch.zeros(1, 3, 4)), torch.ones(1, 4), 5)
    assert nothing.item() == 0
    assert vectors.isfinite().all()
