import numpy as np
import pytest
import torch
from torch import Tensor

from gyrostat.probes.eigenpairs import NotFinite, Subspace, student, trace
from gyrostat.probes.warmstart import random_signs, random_vector


def symmetric(values: list[float], seed: int = 0) -> Tensor:
    """A dense matrix with these eigenvalues, float64."""
    generator = torch.Generator().manual_seed(seed)
    rotation, _ = torch.linalg.qr(torch.randn(len(values), len(values), generator=generator, dtype=torch.float64))
    return rotation @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ rotation.mT


def space_of(matrix: Tensor, capacity: int = 32) -> Subspace:
    return Subspace(lambda v: matrix @ v, matrix, len(matrix), capacity)


def outliers(seed: int, length: int = 200) -> list[float]:
    """A few large eigenvalues over a bulk, as the Hessians of networks have them."""
    bulk = torch.randn(length - 4, generator=torch.Generator().manual_seed(seed)).div(5).tolist()
    return [10.0, 7.0, 4.0, -3.0, *bulk]


@pytest.mark.parametrize("seed", range(6))
def test_the_two_largest_eigenvalues_of_random_matrices_are_numpys(seed: int) -> None:
    values = torch.randn(40, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).tolist()
    matrix = symmetric(values, seed)
    space = space_of(matrix)
    space.extend(random_vector(40, matrix, seed=seed))
    first, second = (space.refine(number, tolerance=1e-5, max_products=100) for number in (0, 1))
    assert max(first, second) <= 1e-5
    assert space.values[:2] == pytest.approx(sorted(values)[:-3:-1], rel=1e-3)
    assert len(space) <= space.products <= 100
    for number in (0, 1):
        vector = space.vector(number)
        assert vector.norm().item() == pytest.approx(1)
        assert torch.dot(vector, matrix @ vector).item() == pytest.approx(space.values[number], abs=1e-9)


def test_a_dominant_negative_eigenvalue_is_not_taken_for_the_largest() -> None:
    matrix = symmetric([-35.0, -20.0, 1.5, 1.0, *np.linspace(-1, 0.5, 30)])
    space = space_of(matrix)
    space.extend(random_vector(len(matrix), matrix))
    space.refine(0, tolerance=1e-3, max_products=100)
    assert space.values[0] == pytest.approx(1.5, rel=1e-3)


def test_a_full_basis_keeps_its_best_vectors_and_goes_on() -> None:
    matrix = symmetric([3.0, 2.5, *np.linspace(0, 2, 60)])
    space = space_of(matrix, capacity=4)
    space.extend(random_vector(len(matrix), matrix))
    space.refine(0, tolerance=1e-2, max_products=300)
    assert len(space) <= 4 < space.products
    assert space.values[0] == pytest.approx(3.0, rel=1e-3)
    torch.testing.assert_close(space.basis @ space.basis.mT, torch.eye(len(space), dtype=torch.float64))
    torch.testing.assert_close(space.images, space.basis @ matrix)


def test_it_ends_at_the_last_product_and_says_how_far_it_is() -> None:
    matrix = symmetric(np.linspace(0.9, 1, 60).tolist())
    space = space_of(matrix)
    space.extend(random_vector(60, matrix))
    error = space.refine(0, tolerance=1e-12, max_products=7)
    assert space.products == 7
    vector = space.vector(0)
    assert error == pytest.approx((matrix @ vector - space.values[0] * vector).norm().item() / space.values[0])


def test_an_invariant_space_is_exact_and_zero_has_no_direction() -> None:
    matrix = symmetric([2.0, 2.0, 2.0])
    space = space_of(matrix)
    assert not space.extend(torch.zeros(3, dtype=torch.float64))
    assert space.extend(torch.ones(3, dtype=torch.float64))
    assert not space.extend(torch.ones(3, dtype=torch.float64))
    assert space.refine(0, tolerance=1e-9, max_products=9) == 0
    assert (space.values[0], space.products) == (pytest.approx(2), 1)
    nothing = space_of(0 * matrix)
    nothing.extend(torch.ones(3, dtype=torch.float64))
    assert nothing.refine(0, tolerance=1e-9, max_products=9) == 0
    assert nothing.values[0] == 0


def test_a_direction_whose_image_is_known_takes_no_product() -> None:
    matrix = symmetric(outliers(0))
    space = space_of(matrix)
    for seed in range(4):
        vector = 3 * random_vector(200, matrix, seed=seed)
        space.extend(vector, matrix @ vector)
    assert (space.products, len(space)) == (0, 4)
    torch.testing.assert_close(space.images, space.basis @ matrix)


def test_what_is_known_of_a_matrix_is_known_of_it_scaled_on_both_sides() -> None:
    matrix = symmetric(outliers(1))
    scale = 1 + random_vector(200, matrix, seed=5).abs() * 30
    space = space_of(matrix)
    space.extend(random_vector(200, matrix))
    space.refine(0, tolerance=1e-2, max_products=20)
    other = space.scaled(scale)
    both = scale[:, None] * matrix * scale
    assert (other.products, len(other)) == (0, len(space))
    torch.testing.assert_close(other.images, other.basis @ both)
    other.refine(0, tolerance=1e-4, max_products=100)
    assert other.values[0] == pytest.approx(torch.linalg.eigvalsh(both)[-1].item(), rel=1e-4)


def test_where_a_scale_is_zero_nothing_is_taken_over_and_the_products_are_still_right() -> None:
    matrix = symmetric(outliers(2))
    scale = torch.ones(200, dtype=torch.float64)
    scale[:50] = 0
    space = space_of(matrix)
    space.extend(random_vector(200, matrix))
    other = space.scaled(scale)
    assert len(other) == 0
    other.extend(random_vector(200, matrix))
    other.refine(0, tolerance=1e-4, max_products=150)
    assert other.values[0] == pytest.approx(torch.linalg.eigvalsh(matrix[50:, 50:])[-1].item(), rel=1e-4)


def test_what_is_not_finite_is_refused_and_leaves_the_space_as_it_was() -> None:
    matrix = symmetric([3.0, 2.0, 1.0])
    space = space_of(matrix)
    space.extend(torch.ones(3, dtype=torch.float64))
    with pytest.raises(NotFinite):
        space.extend(torch.tensor([1.0, torch.nan, 0.0], dtype=torch.float64))
    with pytest.raises(NotFinite):
        space.extend(torch.eye(3, dtype=torch.float64)[0], torch.full((3,), torch.inf, dtype=torch.float64))
    assert len(space) == 1
    assert bool(space.images.isfinite().all())


def test_a_trace_within_the_basis_is_exact_and_so_is_its_diagonal() -> None:
    matrix = symmetric([3.0, -2.0, 1.0, 0.5])
    space = space_of(matrix)
    for row in torch.eye(4, dtype=torch.float64):
        space.extend(row)
    found = trace(lambda v: matrix @ v, space, [random_signs(4, matrix, seed=0)])
    torch.testing.assert_close(found.parts, matrix.diagonal())
    assert found.total.item() == pytest.approx(2.5)
    assert found.error.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("samples", [1, 4])
@pytest.mark.parametrize("products", [0, 6])
def test_traces_are_unbiased_and_within_their_stated_errors_as_often_as_a_normal_distribution_says(
    samples: int, products: int
) -> None:
    matrix = symmetric(outliers(3))
    space = space_of(matrix)
    if products:
        space.extend(random_vector(200, matrix, seed=999))
        space.refine(0, tolerance=1e-9, max_products=products)
    misses, errors, stretched, block_misses, block_errors = [], [], [], [], []
    block = slice(20, 90)
    for seed in range(400):
        signs = [random_signs(200, matrix, seed=seed * samples + at) for at in range(samples)]
        found = trace(lambda v: matrix @ v, space, signs)
        errors.append(found.error.item())
        stretched.append(found.error.item() * student(samples * found.rank))
        misses.append((found.total - matrix.trace()).item())
        block_errors.append(found.squares[block].sum().sqrt().item())
        block_misses.append((found.parts[block].sum() - matrix.diagonal()[block].sum()).item())
    rest = matrix - space.basis.mT @ space.images
    rest = rest - rest @ space.basis.mT @ space.basis
    true = (2 * (rest.square().sum() - rest.diagonal().square().sum()) / samples).sqrt().item()
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(true, rel=0.1)
    for missed, stated in ((misses, errors), (block_misses, block_errors)):
        assert abs(np.mean(missed)) < 3.5 * np.std(missed) / np.sqrt(400)
        # a single product tells the error of what outliers dominate only roughly
        sure = 0.93 if products or samples > 1 else 0.87
        assert np.mean(np.abs(missed) < 1.96 * np.array(stated)) >= sure
    # 95 %, less what 400 draws may miss of it once in a hundred times
    assert np.mean(np.abs(misses) <= 1.96 * np.array(stretched)) >= 0.95 - 2.33 * np.sqrt(0.95 * 0.05 / 400)
    # the blocks' errors are stated at most √2 times too large
    assert np.std(block_misses) > 0.9 * np.sqrt(np.mean(np.square(block_errors)) / 2)
    if products:
        plain = (2 * (matrix.square().sum() - matrix.diagonal().square().sum()) / samples).sqrt().item()
        assert true < 0.6 * plain


@pytest.mark.parametrize("samples", [1, 2, 4, 7, 12, 40])
def test_stretched_by_student_the_error_of_a_single_eigenvalue_holds_95_of_100(samples: int) -> None:
    # Hutchinson's estimate of the trace 1 of a projection on one direction, which random signs see as normal numbers
    seen = np.mean(np.random.default_rng(0).normal(size=(20_000, samples)) ** 2, axis=1)
    error = np.sqrt(2 * seen / samples)
    inside = np.mean(np.abs(seen - 1) <= 1.96 * student(samples) * error)
    assert 0.945 <= inside <= 0.963
    assert student(np.inf) == 1


def test_what_is_left_is_said_to_be_as_wide_as_it_is_over_its_largest_eigenvalue() -> None:
    matrix = symmetric([4.0] * 2 + [2.0] * 30 + [0.0] * 60)
    space = space_of(matrix)
    space.extend(torch.linalg.eigh(matrix).eigenvectors[:, -1])
    found = trace(lambda v: matrix @ v, space, [random_signs(92, matrix, seed=seed) for seed in range(400)])
    assert found.rest == pytest.approx(np.sqrt(16 + 30 * 4), rel=0.05)
    assert found.rank == pytest.approx((16 + 30 * 4) / 16, rel=0.1)


def test_random_signs_are_repeatable_and_take_nothing_from_the_global_generator() -> None:
    like, before = torch.zeros((), dtype=torch.float64), torch.get_rng_state()
    first, again, other = (random_signs(1000, like, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first, again)
    assert first.dtype == torch.float64
    assert set(first.tolist()) == {1.0, -1.0}
    assert abs(first.mean().item()) < 0.1
    assert abs((first * other).mean().item()) < 0.1
