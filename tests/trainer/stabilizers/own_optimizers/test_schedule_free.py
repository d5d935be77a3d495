import copy

import pytest
import torch
from torch import nn

from gyrostat.probes.stability import inverse_root_preconditioner, is_adaptive, limit
from trainer.stabilizers.own_optimizers import ScheduleFree


def made(base="sgd", *, rate=0.1, beta=0.9, **more):
    theta = nn.Parameter(torch.ones(2, dtype=torch.float64))
    return theta, ScheduleFree([theta], base, lr=rate, beta=beta, **more)


def walk(theta, optimizer, steps, curvature=1.0):
    for _ in range(steps):
        theta.grad = curvature * theta.detach()
        optimizer.step()


@pytest.mark.parametrize("base", ["sgd", "adamw"])
def test_the_average_is_there_while_it_is_asked_for_and_y_is_back_bit_for_bit(base):
    theta, optimizer = made(base)
    with optimizer.averaged():
        assert torch.equal(theta, torch.ones(2, dtype=torch.float64)), "before the first step all points are one"
    walk(theta, optimizer, 5)
    at_y = theta.detach().clone()
    with optimizer.averaged():
        assert torch.equal(theta, optimizer.state[theta]["x"])
        assert not torch.equal(theta, at_y)
    assert torch.equal(theta, at_y)


def test_at_a_constant_rate_x_is_the_mean_of_all_z():
    theta, optimizer = made()
    seen = []
    for _ in range(6):
        walk(theta, optimizer, 1)
        seen.append(optimizer.state[theta]["z"].clone())
    torch.testing.assert_close(optimizer.state[theta]["x"], torch.stack(seen).mean(0))


def test_a_rate_of_zero_moves_nothing():
    theta, optimizer = made()
    optimizer.param_groups[0]["lr"] = 0.0
    walk(theta, optimizer, 3)
    assert torch.equal(theta, torch.ones(2, dtype=torch.float64))
    assert limit(optimizer) is None


@pytest.mark.parametrize("base", ["sgd", "adamw"])
def test_a_state_put_on_the_averaged_weights_goes_on_at_y_bit_for_bit(base):
    theta, optimizer = made(base, weight_decay=0.1)
    walk(theta, optimizer, 3)
    saved = copy.deepcopy(optimizer.state_dict())
    other, resumed = made(base, weight_decay=0.1)
    with optimizer.averaged(), torch.no_grad():
        other.copy_(theta)
    resumed.load_state_dict(saved)
    assert torch.equal(other, theta)
    walk(theta, optimizer, 3)
    walk(other, resumed, 3)
    assert torch.equal(other, theta)


@pytest.mark.parametrize("beta", [0.0, 0.9])
def test_without_interpolation_it_is_gradient_descent_and_averages_beside(beta):
    theta, optimizer = made(beta=beta)
    walk(theta, optimizer, 4)
    descended = torch.full((2,), 0.9**4, dtype=torch.float64)
    assert torch.allclose(optimizer.state[theta]["z"], descended, rtol=1e-12) == (beta == 0.0)


@pytest.mark.parametrize(
    ("part", "beta", "base"),
    [(1.0, 0.9, "sgd"), (0.3, 0.9, "sgd"), (0.01, 0.9, "sgd"), (0.01, 0.0, "sgd"), (0.01, 0.5, "adamw")],
)
def test_with_the_averages_share_held_it_shrinks_just_below_its_limit_and_grows_just_above(part, beta, base):
    """θ is so small that ε stands alone in the denominator of adamw: P is ε."""

    def grows(relative):
        theta = nn.Parameter(torch.full((1,), 1e-100, dtype=torch.float64))
        optimizer = ScheduleFree([theta], base, lr=0.1, beta=beta, eps=0.25, weight_decay=3.0)
        curvature = 1.0
        for step in range(1200):
            theta.grad = curvature * theta.detach()
            if step:
                # the sum of squared rates at which this step's share is the held one
                optimizer.state[theta]["squared_rates"] = 0.1**2 * (1 / part - 1)
            optimizer.step()
            if step == 1:
                assert optimizer.state[theta]["part"] == pytest.approx(part)
                bound = limit(optimizer)
                assert bound is not None
                assert is_adaptive(optimizer) == (base == "adamw")
                scale = 1.0
                if base == "adamw":
                    (root,) = inverse_root_preconditioner(optimizer, [theta])
                    scale = float(root**2)
                curvature = relative * bound / scale
                first = optimizer.state[theta]["z"].abs().item()
        return bool(optimizer.state[theta]["z"].abs() > first)

    assert not grows(0.98)
    assert grows(1.02)


def test_late_in_a_run_it_bears_more_curvature_than_momentum_does():
    theta, optimizer = made(rate=0.1, beta=0.9)
    walk(theta, optimizer, 3000, curvature=1e-6)
    assert limit(optimizer) == pytest.approx(2 / (0.1 * 0.1), rel=0.01)


def test_coupled_decay_beside_it_counts_for_sgd():
    theta, optimizer = made()
    walk(theta, optimizer, 1)
    bare = limit(optimizer)
    optimizer.param_groups[0]["coupled_decay"] = 3.0
    assert limit(optimizer) == pytest.approx(bare - 3)
