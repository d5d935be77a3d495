import math

import pytest
import torch
from torch import nn

from gyrostat.spec.optimizers import Adam, AdamW, Lion, RmsProp, Sam, ScheduleFree, Sgd
from trainer.stabilizers import optimizers

CURVATURES = torch.tensor([[1.0, 3.0], [0.5, 10.0]], dtype=torch.float64)
SHIFT = torch.tensor([2.0, -1.0], dtype=torch.float64)


class Quadratic(nn.Module):
    """½Σ aᵢwᵢ² + ½Σ(b − s)²: the gradients are a·w and b − s."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[1.0, -2.0], [0.5, 0.1]], dtype=torch.float64))
        self.bias = nn.Parameter(torch.tensor([0.5, 0.5], dtype=torch.float64))

    def forward(self):
        return (CURVATURES * self.weight.square()).sum() / 2 + (self.bias - SHIFT).square().sum() / 2


FACTORS = (0.5, 1.0, 0.25)
"""A schedule, as the loop applies it: the rate of each step over the settings' own."""


def after_three_steps(settings):
    model = Quadratic()
    optimizer = optimizers.build(settings, model)
    rates = [group["lr"] for group in optimizer.param_groups]
    assert rates == [settings.learning_rate] * len(rates)
    for factor in FACTORS:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        optimizer.zero_grad()
        model().backward()
        optimizer.step()
    return model.weight.detach().flatten().tolist(), model.bias.detach().tolist()


def by_hand(update):
    """Three steps of `update(value, gradient, state, step, is_bias)` on each weight alone."""

    def trained(start, gradient, is_bias):
        value, state = start, {}
        for step in (1, 2, 3):
            value = update(value, gradient(value), state, step, is_bias)
        return value

    weights = [
        trained(w, lambda v, a=a: a * v, False)
        for w, a in zip([1.0, -2.0, 0.5, 0.1], CURVATURES.flatten().tolist(), strict=True)
    ]
    return weights, [trained(0.5, lambda v, s=s: v - s, True) for s in SHIFT.tolist()]


def close(got, expected):
    assert got[0] == pytest.approx(expected[0], rel=1e-12)
    assert got[1] == pytest.approx(expected[1], rel=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_sgd_with_momentum_and_coupled_decay(momentum, decay):
    def update(value, gradient, state, step, is_bias):
        gradient += decay * value
        state["v"] = momentum * state.get("v", 0.0) + gradient
        return value - 0.05 * FACTORS[step - 1] * state["v"]

    close(after_three_steps(Sgd(learning_rate=0.05, momentum=momentum, weight_decay=decay)), by_hand(update))


def test_nesterov():
    def update(value, gradient, state, step, is_bias):
        gradient += 0.1 * value
        state["v"] = 0.9 * state.get("v", 0.0) + gradient
        return value - 0.05 * FACTORS[step - 1] * (gradient + 0.9 * state["v"])

    settings = Sgd(learning_rate=0.05, momentum=0.9, nesterov=True, weight_decay=0.1)
    close(after_three_steps(settings), by_hand(update))


def test_adamw_with_decoupled_decay_on_matrices_only():
    def update(value, gradient, state, step, is_bias):
        state["m"] = 0.8 * state.get("m", 0.0) + 0.2 * gradient
        state["v"] = 0.95 * state.get("v", 0.0) + 0.05 * gradient**2
        corrected = state["m"] / (1 - 0.8**step), state["v"] / (1 - 0.95**step)
        decay = 0.0 if is_bias else 0.3
        return value - 0.01 * FACTORS[step - 1] * (corrected[0] / (math.sqrt(corrected[1]) + 1e-6) + decay * value)

    settings = AdamW(learning_rate=0.01, beta1=0.8, beta2=0.95, eps=1e-6, weight_decay=0.3)
    close(after_three_steps(settings), by_hand(update))


def test_adamw_decays_no_bias_and_no_normalization_gain():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))
    optimizer = optimizers.build(AdamW(weight_decay=0.1), model)
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] > 0 for p in group["params"]}
    assert decayed == {id(model[0].weight), id(model[3].weight)}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_rmsprop_with_coupled_decay(momentum):
    def update(value, gradient, state, step, is_bias):
        gradient += 0.1 * value
        state["s"] = 0.9 * state.get("s", 0.0) + 0.1 * gradient**2
        state["v"] = momentum * state.get("v", 0.0) + gradient / (math.sqrt(state["s"]) + 1e-3)
        return value - 0.01 * FACTORS[step - 1] * state["v"]

    settings = RmsProp(learning_rate=0.01, alpha=0.9, eps=1e-3, momentum=momentum, weight_decay=0.1)
    close(after_three_steps(settings), by_hand(update))


def test_adam_with_coupled_decay_on_everything():
    def update(value, gradient, state, step, is_bias):
        gradient += 0.3 * value
        state["m"] = 0.8 * state.get("m", 0.0) + 0.2 * gradient
        state["v"] = 0.95 * state.get("v", 0.0) + 0.05 * gradient**2
        corrected = state["m"] / (1 - 0.8**step), state["v"] / (1 - 0.95**step)
        return value - 0.01 * FACTORS[step - 1] * corrected[0] / (math.sqrt(corrected[1]) + 1e-6)

    settings = Adam(learning_rate=0.01, beta1=0.8, beta2=0.95, eps=1e-6, weight_decay=0.3)
    close(after_three_steps(settings), by_hand(update))


def test_lion_with_decoupled_decay_on_matrices_only():
    def update(value, gradient, state, step, is_bias):
        interpolated = 0.8 * state.get("m", 0.0) + 0.2 * gradient
        state["m"] = 0.95 * state.get("m", 0.0) + 0.05 * gradient
        decay = 0.0 if is_bias else 0.3
        return value - 0.01 * FACTORS[step - 1] * (math.copysign(1, interpolated) + decay * value)

    settings = Lion(learning_rate=0.01, beta1=0.8, beta2=0.95, weight_decay=0.3)
    close(after_three_steps(settings), by_hand(update))


@pytest.mark.parametrize("base", ["sgd", "adamw"])
def test_schedule_free_gradients_at_y_steps_of_z_and_their_average_x(base):
    def update(y, gradient, state, step, is_bias):
        rate = 0.1 * FACTORS[step - 1]
        state["rates"] = state.get("rates", 0.0) + rate**2
        state["v"] = 0.95 * state.get("v", 0.0) + 0.05 * gradient**2
        divisor = math.sqrt(state["v"] / (1 - 0.95**step)) + 1e-3 if base == "adamw" else 1.0
        decay = 0.0 if is_bias else 0.3
        state["z"] = state.get("z", y) - rate * (gradient / divisor + decay * y)
        part = rate**2 / state["rates"]
        state["x"] = (1 - part) * state.get("x", y) + part * state["z"]
        return 0.2 * state["z"] + 0.8 * state["x"]

    settings = ScheduleFree(base=base, learning_rate=0.1, beta=0.8, beta2=0.95, eps=1e-3, weight_decay=0.3)
    close(after_three_steps(settings), by_hand(update))


@pytest.mark.parametrize("settings", [Sgd(), Sam(base=Sgd()), Sam(base="adamw"), ScheduleFree(), Lion()])
def test_only_equal_kinds_with_equal_bases_share_states(settings):
    kinds = {
        optimizers.kind(optimizers.build(other, Quadratic()))
        for other in (
            Sgd(),
            AdamW(),
            Sam(base=Sgd()),
            Sam(base="adamw"),
            ScheduleFree(),
            ScheduleFree(base="sgd"),
            Lion(),
        )
    }
    assert len(kinds) == 7
    assert optimizers.kind(optimizers.build(settings, Quadratic())) in kinds


def test_the_result_of_most_optimizers_is_where_they_are():
    model = Quadratic()
    before = model.weight.detach().clone()
    with optimizers.averaged(optimizers.build(Sgd(), model)):
        assert torch.equal(model.weight, before)
