"""The spectral density against the eigenvalues of dense matrices and Hessians, and its errors against what they say."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gyrostat.probes.estimators import hessian
from gyrostat.probes.spectral_density import SpectralDensity, quadrature, spectral_density


def symmetric(values: np.ndarray, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    rotation, _ = torch.linalg.qr(torch.randn(len(values), len(values), generator=generator, dtype=torch.float64))
    return rotation @ torch.diag(torch.from_numpy(values)) @ rotation.mT


def of(matrix: Tensor, **changes: float) -> SpectralDensity:
    settings = {"probes": 8, "steps": 40, "width": 0.05, "points": 200, "seed": 0} | changes
    return spectral_density(lambda v: matrix @ v, matrix[0], **settings)


def smoothed(eigenvalues: np.ndarray, found: SpectralDensity) -> np.ndarray:
    """The true density, with every eigenvalue made a Gaussian of the same width."""
    distance = (found.grid[:, None] - eigenvalues) / found.sigma
    return (np.exp(-(distance**2) / 2) / (found.sigma * np.sqrt(2 * np.pi))).mean(1)


SPECTRUM = np.concatenate([np.random.default_rng(0).normal(0, 0.3, 180), [-4.0, 5.0, 8.0, 12.0]])


@pytest.fixture(scope="module")
def small_net() -> tuple[nn.Module, Tensor, np.ndarray]:
    """A net, its loss's graph, and all eigenvalues of its Hessian, by autograd's dense one in float64."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 4)).double()
    x, y = torch.randn(40, 6, dtype=torch.float64), torch.randint(4, (40,))
    names = list(dict(model.named_parameters()))

    def loss(*parameters: Tensor) -> Tensor:
        logits = torch.func.functional_call(model, dict(zip(names, parameters, strict=True)), (x,))
        return nn.functional.cross_entropy(logits, y)

    values = tuple(model.parameters())
    blocks = torch.autograd.functional.hessian(loss, values)
    sizes = [value.numel() for value in values]
    dense = torch.cat(
        [
            torch.cat([block.reshape(m, n) for block, n in zip(row, sizes, strict=True)], 1)
            for row, m in zip(blocks, sizes, strict=True)
        ]
    )
    return model, loss(*values), np.linalg.eigvalsh(dense.detach().numpy())


def test_the_quadrature_is_exact_for_polynomials_of_degree_2k_minus_1() -> None:
    matrix = symmetric(np.linspace(-1, 1, 30))
    start = torch.randn(30, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    nodes, weights = quadrature(lambda v: matrix @ v, start, 4)
    unit = start / start.norm()
    for degree in range(8):
        exact = (unit @ torch.linalg.matrix_power(matrix, degree) @ unit).item()
        assert weights @ nodes**degree == pytest.approx(exact, abs=1e-12)
    beyond = (unit @ torch.linalg.matrix_power(matrix, 8) @ unit).item()
    assert weights @ nodes**8 != pytest.approx(beyond, rel=1e-6)


def test_few_different_eigenvalues_are_found_exactly_and_the_iteration_ends() -> None:
    calls = []
    matrix = symmetric(np.array([2.0] * 10 + [-1.0] * 5 + [0.0] * 15))

    def product(vector: Tensor) -> Tensor:
        calls.append(vector)
        return matrix @ vector

    nodes, weights = quadrature(product, torch.ones(30, dtype=torch.float64), 25)
    np.testing.assert_allclose(nodes, [-1, 0, 2], atol=1e-10)
    assert weights.sum() == pytest.approx(1)
    assert len(calls) == 3


@pytest.mark.parametrize("seed", range(6))
def test_the_density_meets_its_error(seed: int) -> None:
    found = of(symmetric(SPECTRUM, seed), seed=seed, probes=12, steps=60)
    exact = smoothed(SPECTRUM, found)
    assert found.density @ np.gradient(found.grid) == pytest.approx(1, abs=1e-3)
    assert found.weights.sum() == pytest.approx(1)
    # an average over the grid: single points are correlated, and normal errors exceed 3σ somewhere
    seen = exact > 0.02 * exact.max()
    ratio = np.abs(found.density - exact)[seen] / found.error[seen]
    assert np.sqrt(np.mean(ratio**2)) < 2.5
    assert found.eigenvalues[-1] == pytest.approx(12, rel=1e-6)
    assert found.eigenvalues[0] == pytest.approx(-4, rel=1e-6)


def test_the_errors_of_the_moments_are_those_that_many_seeds_show() -> None:
    matrix = symmetric(SPECTRUM)
    trace, square = SPECTRUM.sum(), (SPECTRUM**2).sum()
    many = [of(matrix, seed=seed, steps=3) for seed in range(60)]
    for exact, estimates in ((trace, [f.trace for f in many]), (square, [f.square for f in many])):
        values, errors = np.array([(e.value, e.error) for e in estimates]).T
        true_error = np.sqrt(np.mean((values - exact) ** 2))
        assert np.sqrt(np.mean(errors**2)) == pytest.approx(true_error, rel=0.25)
        assert np.mean(np.abs(values - exact) <= 2.365 * errors) > 0.88, "95 % of Student's t with 7 degrees of freedom"


def test_the_spectrum_of_a_hessian_is_that_of_the_dense_one(small_net: tuple[nn.Module, Tensor, np.ndarray]) -> None:
    model, loss, eigenvalues = small_net
    parameters = list(model.parameters())
    like = torch.zeros(len(eigenvalues), dtype=torch.float64)
    for seed in range(3):
        found = spectral_density(
            hessian(loss, parameters), like, probes=16, steps=50, width=0.03, points=300, seed=seed
        )
        assert abs(found.trace.value - eigenvalues.sum()) < 4 * found.trace.error
        assert abs(found.square.value - (eigenvalues**2).sum()) < 4 * found.square.error
        assert found.eigenvalues[-1] == pytest.approx(eigenvalues[-1], rel=1e-6)
        assert found.eigenvalues[0] == pytest.approx(eigenvalues[0], rel=1e-6)
        # the share of eigenvalues below each point, against counting them
        shares = np.array([found.weights[found.eigenvalues <= edge].sum() for edge in found.grid])
        counted = np.array([(eigenvalues <= edge).mean() for edge in found.grid])
        assert np.abs(shares - counted).mean() < 0.02


def test_float32_products_do_not_make_copies_of_converged_eigenvalues() -> None:
    matrix = symmetric(SPECTRUM).float()
    nodes, weights = quadrature(lambda v: matrix @ v, torch.ones(len(matrix)), 80)
    top = nodes > 11
    assert top.sum() == 1
    start = torch.ones(len(matrix), dtype=torch.float64) / np.sqrt(len(matrix))
    vector = torch.linalg.eigh(symmetric(SPECTRUM))[1][:, -1]
    assert weights[top][0] == pytest.approx(float(torch.dot(vector, start)) ** 2, rel=1e-3)


@pytest.mark.parametrize("value", [0.0, 3.0, -2.0])
def test_one_eigenvalue_alone_is_a_peak(value: float) -> None:
    found = of(value * torch.eye(9, dtype=torch.float64))
    assert found.steps == 1
    assert found.grid[np.argmax(found.density)] == pytest.approx(value, abs=0.06)
    assert (found.trace.value, found.trace.error) == (pytest.approx(9 * value), pytest.approx(0, abs=1e-12))
    assert found.density @ np.gradient(found.grid) == pytest.approx(1, abs=1e-3)


def test_more_steps_than_dimensions_end_with_the_whole_spectrum() -> None:
    found = of(symmetric(np.array([1.0, 2.0, 4.0])), steps=50)
    assert found.steps == 3
    assert found.trace.value == pytest.approx(7, abs=3 * found.trace.error + 1e-9)


def test_a_product_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(FloatingPointError, match="not finite"):
        of(torch.full((4, 4), torch.nan, dtype=torch.float64))


def test_a_seed_is_a_result() -> None:
    matrix = symmetric(SPECTRUM)
    once, again, other = of(matrix), of(matrix), of(matrix, seed=1)
    np.testing.assert_array_equal(once.density, again.density)
    assert not np.array_equal(once.weights, other.weights)
