import pytest
import torch
from torch import nn
from torch.autograd.functional import jacobian
from torch.func import functional_call

from gyrostat.probes.kernel import kernel_change, kernel_distance, kernel_drift, ntk


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).double()


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_the_kernel_is_that_of_explicit_jacobians(model: nn.Module, x: torch.Tensor) -> None:
    names, values = zip(*model.named_parameters(), strict=True)
    blocks = jacobian(
        lambda *parameters: functional_call(model, dict(zip(names, parameters, strict=True)), x).flatten(),
        tuple(value.detach() for value in values),
    )
    full = torch.cat([block.flatten(1) for block in blocks], 1)
    kernel = ntk(model, (x,))
    assert kernel.shape == (8, 8)
    torch.testing.assert_close(kernel, full @ full.mT)
    assert torch.linalg.eigvalsh(kernel).min() > -1e-12


def test_a_linear_model_s_kernel_is_known_in_closed_form_and_never_changes(x: torch.Tensor) -> None:
    model = nn.Linear(3, 2).double()
    expected = torch.kron(x @ x.mT + 1, torch.eye(2, dtype=torch.float64))
    torch.testing.assert_close(ntk(model, (x,)), expected)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    after = {name: p + 1 for name, p in before.items()}
    assert kernel_drift(model, (x,), before, after) == 0


def test_drift_is_measured_between_two_sets_of_parameters_and_leaves_the_model_alone(
    model: nn.Module, x: torch.Tensor
) -> None:
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    after = {name: p * 1.5 for name, p in before.items()}
    drift = kernel_drift(model, (x,), before, after)
    first = ntk(model, (x,))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            assert torch.equal(parameter, before[name])
            assert parameter.grad is None
            parameter.copy_(after[name])
    second = ntk(model, (x,))
    torch.testing.assert_close(drift, (second - first).norm() / first.norm())


def test_a_scaled_kernel_has_changed_but_not_turned(model: nn.Module, x: torch.Tensor) -> None:
    kernel = ntk(model, (x,))
    torch.testing.assert_close(kernel_change(kernel, 3 * kernel), torch.tensor(2.0, dtype=torch.float64))
    assert abs(kernel_distance(kernel, 3 * kernel)) < 1e-12
    turned = torch.diag(torch.tensor([1.0, 0.0])), torch.diag(torch.tensor([0.0, 1.0]))
    assert kernel_distance(*turned) == 1
