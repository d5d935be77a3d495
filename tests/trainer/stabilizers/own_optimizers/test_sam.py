import math

import pytest
import torch
from torch import nn

from gyrostat.probes.stability import inverse_root_preconditioner, is_adaptive, limit
from trainer.stabilizers.own_optimizers import Sam

CURVATURES = torch.tensor([1.0, 3.0, 10.0], dtype=torch.float64)


class Bowl(nn.Module):
    """½Σ aᵢθᵢ², and a batch norm whose statistics are counted."""

    def __init__(self):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))
        self.norm = nn.BatchNorm1d(1).double()

    def forward(self):
        self.norm(torch.arange(6, dtype=torch.float64).reshape(6, 1) * self.theta.detach()[0])
        return (CURVATURES * self.theta.square()).sum() / 2


def step(model, sam):
    sam.zero_grad()
    model().backward()
    with sam.ascended(model):
        model().backward()
    sam.step()


@pytest.mark.parametrize("adaptive", [False, True])
def test_three_steps_by_hand(adaptive):
    model = Bowl()
    sam = Sam(torch.optim.SGD([model.theta], lr=1.0, momentum=0.9), rho=0.2, adaptive=adaptive)
    value, velocity = model.theta.detach().clone(), torch.zeros(3, dtype=torch.float64)
    for factor in (0.05, 0.1, 0.02):
        sam.param_groups[0]["lr"] = factor
        gradient = CURVATURES * value
        stretch = value.abs() + 0.01 if adaptive else torch.ones(3, dtype=torch.float64)
        epsilon = 0.2 * stretch**2 * gradient / (stretch * gradient).norm()
        velocity = 0.9 * velocity + CURVATURES * (value + epsilon)
        value = value - factor * velocity
        step(model, sam)
    torch.testing.assert_close(model.theta.detach(), value, rtol=1e-12, atol=1e-14)


def test_inside_the_weights_are_rho_away_and_afterwards_bit_for_bit_where_they_were():
    model = Bowl()
    sam = Sam(torch.optim.SGD([model.theta], lr=0.1), rho=0.3, adaptive=False)
    model().backward()
    before, gradient = model.theta.detach().clone(), model.theta.grad.clone()
    with sam.ascended(model):
        assert (model.theta - before).norm().item() == pytest.approx(0.3)
        torch.testing.assert_close((model.theta - before).detach(), 0.3 * gradient / gradient.norm())
        assert model.theta.grad is None
    assert torch.equal(model.theta, before)


def test_batch_statistics_count_a_batch_once():
    once, twice = Bowl(), Bowl()
    once().backward()
    step(twice, Sam(torch.optim.SGD([twice.theta], lr=0.1), rho=0.3, adaptive=False))
    for name, buffer in once.norm.named_buffers():
        assert torch.equal(buffer, dict(twice.norm.named_buffers())[name])


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("bad", [math.inf, math.nan, 0.0])
def test_without_a_usable_direction_the_second_pass_is_at_the_weights_themselves(bad, adaptive):
    model = Bowl()
    sam = Sam(torch.optim.SGD([model.theta], lr=0.1), rho=0.3, adaptive=adaptive)
    before = model.theta.detach().clone()
    model.theta.grad = torch.full_like(before, bad)
    with sam.ascended(model):
        assert torch.equal(model.theta, before)


def test_the_direction_does_not_depend_on_the_gradients_scale():
    model = Bowl()
    sam = Sam(torch.optim.SGD([model.theta], lr=0.1), rho=0.3, adaptive=False)
    points = []
    for scale in (1.0, 65536.0):
        model.theta.grad = scale * CURVATURES * model.theta.detach()
        with sam.ascended(model):
            points.append(model.theta.detach().clone())
    torch.testing.assert_close(points[0], points[1], rtol=1e-12, atol=0)


def grows(relative, *, momentum, rho):
    """Whether θ grows on ½λθ² + Gφ, whose gradient's norm is G: held, as the limit takes it to be."""
    model = nn.Module()
    model.theta = nn.Parameter(torch.full((1,), 1e-100, dtype=torch.float64))
    model.phi = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    sam = Sam(torch.optim.SGD(model.parameters(), lr=0.1, momentum=momentum, weight_decay=2.0), rho=rho, adaptive=False)
    curvature = 1.0

    def slope():
        model.theta.grad, model.phi.grad = curvature * model.theta.detach(), torch.full((1,), 5.0).double()

    for number in range(500):
        slope()
        with sam.ascended(model):
            slope()
        sam.step()
        if number == 0:
            bound = limit(sam)
            assert bound is not None
            curvature, start = relative * bound, model.theta.detach().abs().item()
    return model.theta.detach().abs().item() > start


@pytest.mark.parametrize(("momentum", "rho"), [(0.0, 0.01), (0.0, 30.0), (0.9, 1.0)])
def test_with_the_gradients_norm_held_it_shrinks_just_below_its_limit_and_grows_just_above(momentum, rho):
    assert not grows(0.98, momentum=momentum, rho=rho)
    assert grows(1.02, momentum=momentum, rho=rho)


def test_around_gradient_descent_the_limit_is_the_edge_of_long_and_bartlett():
    model = Bowl()
    sam = Sam(torch.optim.SGD([model.theta], lr=0.1), rho=0.3, adaptive=False)
    assert limit(sam) is None, "before its first step the gradient's norm is not known"
    model().backward()
    norm = model.theta.grad.norm().item()
    with sam.ascended(model):
        pass
    assert limit(sam) == pytest.approx(norm / 0.6 * (math.sqrt(1 + 8 * 0.3 / (0.1 * norm)) - 1))
    assert limit(sam) < 2 / 0.1


def test_no_limit_is_said_where_none_follows_from_the_sharpness():
    for base, adaptive in ((torch.optim.SGD, True), (torch.optim.AdamW, False)):
        model = Bowl()
        sam = Sam(base([model.theta], lr=0.1), rho=0.3, adaptive=adaptive)
        step(model, sam)
        assert limit(sam) is None
        assert not is_adaptive(sam)
        assert inverse_root_preconditioner(sam, [model.theta]) is None
