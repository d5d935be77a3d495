import numpy as np
import pytest
import torch
from torch import Tensor

from gyrostat.probes.estimators import hessian, lanczos
from gyrostat.probes.warmstart import random_vector


def symmetric(values: list[float], seed: int = 0) -> Tensor:
    """A dense matrix with these eigenvalues, float64."""
    generator = torch.Generator().manual_seed(seed)
    rotation, _ = torch.linalg.qr(torch.randn(len(values), len(values), generator=generator, dtype=torch.float64))
    return rotation @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ rotation.mT


def largest(matrix: Tensor, **changes: float) -> tuple[float, int]:
    settings = {"tolerance": 1e-3, "max_products": 100} | changes
    found = lanczos(lambda v: matrix @ v, random_vector(len(matrix), matrix), **settings)
    assert found.vector is not None
    assert found.vector.norm().item() == pytest.approx(1)
    assert torch.dot(found.vector, matrix @ found.vector).item() == pytest.approx(found.value, abs=1e-6)
    return found.value, found.products


@pytest.mark.parametrize("seed", range(5))
def test_lanczos_finds_the_largest_eigenvalue_of_random_matrices(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(40, generator=generator, dtype=torch.float64).tolist()
    assert largest(symmetric(values, seed))[0] == pytest.approx(max(values), rel=1e-3)


def test_lanczos_finds_the_algebraically_largest_where_a_negative_one_dominates() -> None:
    values = [-35.0, -20.0, 1.5, 1.0, *np.linspace(-1, 0.5, 30)]
    assert largest(symmetric(values))[0] == pytest.approx(1.5, rel=1e-3)
    assert largest(symmetric([-3.0, -2.0, -1.0]))[0] == pytest.approx(-1.0, rel=1e-3)


def test_lanczos_stops_early_where_it_can_and_at_the_limit_where_it_must() -> None:
    clear = symmetric([100.0] + [0.01] * 50)
    assert largest(clear)[1] <= 3
    crowded = symmetric(np.linspace(0.9, 1, 60).tolist())
    value, products = largest(crowded, tolerance=1e-12, max_products=7)
    assert products == 7
    assert 0.95 < value < 1


def test_lanczos_restarts_when_its_basis_is_full_and_still_converges() -> None:
    values = [3.0, 2.5, *np.linspace(0, 2, 60)]
    assert largest(symmetric(values), max_basis=4)[0] == pytest.approx(3.0, rel=2e-3)
    assert largest(symmetric(values), max_basis=1, max_products=2)[1] == 2


def test_lanczos_on_an_exhausted_space_and_on_the_zero_operator_ends() -> None:
    assert largest(symmetric([2.0, 2.0, 2.0]))[0] == pytest.approx(2)
    zero = lanczos(lambda v: 0 * v, torch.ones(9), tolerance=0.01, max_products=30)
    assert (zero.value, zero.products) == (0, 1)
    single = lanczos(lambda v: -4 * v, torch.ones(1), tolerance=0.01, max_products=30)
    assert single.value == -4


def test_lanczos_gives_nan_for_an_operator_that_does() -> None:
    found = lanczos(lambda v: v * torch.nan, torch.ones(3), tolerance=0.01, max_products=9)
    assert np.isnan(found.value)
    assert found.vector is None


def test_hessian_products_are_those_of_the_full_hessian() -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(3, 4, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    x = torch.randn(7, 4, dtype=torch.float64)

    def loss(w: Tensor, b: Tensor) -> Tensor:
        return (torch.tanh(x @ w.mT + b)).pow(2).mean()

    (ww, wb), (bw, bb) = torch.autograd.functional.hessian(loss, (weight, bias))
    top = torch.cat([ww.reshape(12, 12), wb.reshape(12, 3)], 1)
    full = torch.cat([top, torch.cat([bw.reshape(3, 12), bb.reshape(3, 3)], 1)])
    parameters = [weight.requires_grad_(), bias.requires_grad_()]
    product = hessian(loss(weight, bias), parameters)
    for seed in range(3):
        vector = random_vector(15, x, seed=seed)
        torch.testing.assert_close(product(vector), full @ vector)
    assert weight.grad is None


def test_linear_and_unused_parts_have_no_curvature_and_a_constant_loss_is_refused() -> None:
    used, unused = torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)
    assert torch.equal(hessian((3 * used).sum(), [used, unused])(torch.ones(5)), torch.zeros(5))
    assert torch.equal(hessian((used**2).sum(), [unused, used])(torch.ones(5)), torch.tensor([0.0, 0, 0, 2, 2]))
    with pytest.raises(ValueError, match="does not depend on the parameters"):
        hessian(torch.ones(()), [used])
