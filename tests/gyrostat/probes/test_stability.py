"""The limits are tried: the optimizer itself is run on a quadratic with a curvature just below and just above them."""

from collections.abc import Callable, Iterable

import pytest
import torch
from torch import nn

from gyrostat.probes.stability import inverse_root_preconditioner, is_adaptive, limit

Make = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]

FIRST_ORDER: dict[str, Make] = {
    "plain": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.03, momentum=0.9),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.03, momentum=0.9, nesterov=True),
    "dampened": lambda p: torch.optim.SGD(p, lr=0.03, momentum=0.8, dampening=0.4),
    "decayed": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.5, weight_decay=3.0),
    "decayed nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.5, weight_decay=3.0, nesterov=True),
    "coupled beside it": lambda p: decayed_beside(torch.optim.SGD(p, lr=0.1, momentum=0.5), coupled_decay=3.0),
    "decoupled beside it": lambda p: decayed_beside(torch.optim.SGD(p, lr=0.1, momentum=0.5), decoupled_decay=3.0),
    "decoupled beside nesterov": lambda p: decayed_beside(
        torch.optim.SGD(p, lr=0.1, momentum=0.5, nesterov=True), decoupled_decay=3.0
    ),
}


def decayed_beside(optimizer: torch.optim.Optimizer, **decay: float) -> torch.optim.Optimizer:
    """Weight decay that is no setting of the optimizer: done to gradient or weight before its step."""
    (group,) = optimizer.param_groups
    group.update(decay)

    @torch.no_grad()
    def before(*_: object) -> None:
        for p in group["params"]:
            if p.grad is not None:
                p.grad += group.get("coupled_decay", 0.0) * p
                p *= 1 - group["lr"] * group.get("decoupled_decay", 0.0)

    optimizer.register_step_pre_hook(before)
    return optimizer


def grows(make: Make, curvature: float) -> bool:
    """Whether ½·curvature·θ² blows up."""
    theta = nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = make([theta])
    for _ in range(1500):
        theta.grad = curvature * theta.detach()
        optimizer.step()
    return bool(theta.abs() > 1)


@pytest.mark.parametrize("make", FIRST_ORDER.values(), ids=FIRST_ORDER.keys())
def test_sgd_shrinks_just_below_its_limit_and_grows_just_above(make: Make) -> None:
    bound = limit(make([nn.Parameter(torch.ones(1))]))
    assert bound is not None
    assert not grows(make, 0.98 * bound)
    assert grows(make, 1.02 * bound)


def test_the_textbook_forms() -> None:
    parameters = [nn.Parameter(torch.ones(1))]
    assert limit(torch.optim.SGD(parameters, lr=0.1)) == pytest.approx(2 / 0.1)
    assert limit(torch.optim.SGD(parameters, lr=0.1, momentum=0.9)) == pytest.approx(3.8 / 0.1)
    nesterov = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True)
    assert limit(nesterov) == pytest.approx(3.8 / (0.1 * 2.8))
    adam = torch.optim.AdamW(parameters, lr=0.1, betas=(0.9, 0.99), weight_decay=0)
    assert limit(adam) == pytest.approx(38 / 0.1)


def adam_growth(relative: float, weight_decay: float, cls: type[torch.optim.Adam], at_step: float) -> float:
    """How |θ| grows with P⁻¹H held at `relative` times the limit, and the bias corrections at those of step `at_step`.

    θ is so small that ε stands alone in the denominator: the preconditioner is fixed, as the limit takes it to be.
    """
    start = 1e-100
    theta = nn.Parameter(torch.full((1,), start, dtype=torch.float64))
    optimizer = cls([theta], lr=0.01, betas=(0.9, 0.999), eps=0.25, weight_decay=weight_decay)
    bound = limit(optimizer)
    assert bound is not None
    assert is_adaptive(optimizer)
    curvature = 1.0
    for _ in range(500):
        theta.grad = curvature * theta.detach()
        optimizer.step()
        optimizer.state[theta]["step"].fill_(at_step - 1)
        if curvature == 1.0:
            optimizer.state[theta]["step"].fill_(at_step)
            roots = inverse_root_preconditioner(optimizer, [theta])
            assert roots is not None
            curvature = relative * bound / float(roots[0] ** 2)
            optimizer.state[theta]["step"].fill_(at_step - 1)
    return float(theta.detach().abs()) / start


@pytest.mark.parametrize("cls", [torch.optim.Adam, torch.optim.AdamW])
@pytest.mark.parametrize("at_step", [3.0, 10.0, 1000.0])
def test_adam_with_its_second_moment_held_shrinks_below_the_limit_and_grows_above(
    cls: type[torch.optim.Adam], at_step: float
) -> None:
    assert adam_growth(0.97, 0.0, cls, at_step) < 1
    assert adam_growth(1.03, 0.0, cls, at_step) > 1


def test_decoupled_weight_decay_moves_the_limit_as_stated() -> None:
    assert adam_growth(0.97, 60.0, torch.optim.AdamW, 1000.0) < 1
    assert adam_growth(1.03, 60.0, torch.optim.AdamW, 1000.0) > 1


def test_adam_left_to_itself_settles_at_the_limit() -> None:
    # the adaptive edge of stability: v falls until the preconditioned sharpness is at the limit, and is held there
    theta = nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = torch.optim.AdamW([theta], lr=0.01, betas=(0.9, 0.99), weight_decay=0, eps=1e-12)
    bound, curvature, ratios = limit(optimizer), 5.0, []
    assert bound is not None
    for _ in range(3000):
        theta.grad = curvature * theta.detach()
        optimizer.step()
        roots = inverse_root_preconditioner(optimizer, [theta])
        assert roots is not None
        ratios.append(curvature * float(roots[0] ** 2) / bound)
    settled = torch.tensor(ratios[-1500:]).median().item()
    assert 0.8 < settled < 1.25


def test_the_preconditioner_is_that_of_the_update_adam_makes() -> None:
    torch.manual_seed(0)
    for amsgrad in (False, True):
        theta = nn.Parameter(torch.randn(5, dtype=torch.float64))
        optimizer = torch.optim.AdamW([theta], lr=0.1, weight_decay=0, amsgrad=amsgrad, eps=1e-3)
        for _ in range(4):
            before = theta.detach().clone()
            theta.grad = torch.randn(5, dtype=torch.float64)
            optimizer.step()
            roots = inverse_root_preconditioner(optimizer, [theta])
            assert roots is not None
            expected = before - 0.1 * roots[0] ** 2 * optimizer.state[theta]["exp_avg"]
            torch.testing.assert_close(theta.detach(), expected)


def test_parameters_without_state_take_no_part_and_before_the_first_step_there_is_no_preconditioner() -> None:
    moved, still = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([moved, still])
    assert inverse_root_preconditioner(optimizer, [moved, still]) is None
    moved.grad = torch.ones(2)
    optimizer.step()
    roots = inverse_root_preconditioner(optimizer, [still, moved])
    assert roots is not None
    assert torch.equal(roots[0], torch.zeros(3))
    assert (roots[1] > 0).all()


def test_no_limit_where_none_can_be_said() -> None:
    parameters = [nn.Parameter(torch.ones(1))]
    assert limit(torch.optim.SGD(parameters, lr=0.0)) is None
    assert limit(torch.optim.SGD(parameters, lr=0.1, maximize=True)) is None
    assert limit(torch.optim.Adagrad(parameters)) is None
    assert not is_adaptive(torch.optim.Adagrad(parameters))


def test_of_several_groups_the_largest_rate_sets_the_limit() -> None:
    groups = [{"params": [nn.Parameter(torch.ones(1))], "lr": rate} for rate in (0.0, 0.1, 0.4, 0.2)]
    assert limit(torch.optim.SGD(groups, lr=1.0)) == pytest.approx(2 / 0.4)


def frozen_rmsprop_growth(relative: float, momentum: float, decoupled: float) -> float:
    """How |θ| grows with P⁻¹H at `relative` times the limit; ε stands alone in the denominator, so that P is fixed."""
    start = 1e-100
    theta = nn.Parameter(torch.full((1,), start, dtype=torch.float64))
    optimizer = torch.optim.RMSprop([theta], lr=0.01, momentum=momentum, eps=0.25)
    decayed_beside(optimizer, decoupled_decay=decoupled)
    bound = limit(optimizer)
    assert bound is not None
    assert is_adaptive(optimizer)
    curvature = relative * bound * 0.25
    for _ in range(600):
        theta.grad = curvature * theta.detach()
        optimizer.step()
    roots = inverse_root_preconditioner(optimizer, [theta])
    assert roots is not None
    assert float(roots[0] ** 2) == pytest.approx(1 / 0.25)
    return float(theta.detach().abs()) / start


@pytest.mark.parametrize(("momentum", "decoupled"), [(0.0, 0.0), (0.9, 0.0), (0.5, 20.0)])
def test_rmsprop_with_its_mean_square_held_shrinks_below_the_limit_and_grows_above(
    momentum: float, decoupled: float
) -> None:
    assert frozen_rmsprop_growth(0.98, momentum, decoupled) < 1
    assert frozen_rmsprop_growth(1.02, momentum, decoupled) > 1


def test_the_preconditioner_of_rmsprop_is_that_of_its_update_centered_or_not() -> None:
    torch.manual_seed(0)
    for centered in (False, True):
        theta = nn.Parameter(torch.randn(5, dtype=torch.float64))
        optimizer = torch.optim.RMSprop([theta], lr=0.1, eps=1e-3, centered=centered)
        for _ in range(4):
            before = theta.detach().clone()
            theta.grad = torch.randn(5, dtype=torch.float64)
            optimizer.step()
            roots = inverse_root_preconditioner(optimizer, [theta])
            assert roots is not None
            torch.testing.assert_close(theta.detach(), before - 0.1 * roots[0] ** 2 * theta.grad)
