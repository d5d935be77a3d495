import math

import pytest
import torch
from torch import nn

from gyrostat.spec.optimizers import AdamW, Sgd
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


def after_three_steps(settings):
    model = Quadratic()
    optimizer = optimizers.build(settings, model)
    for _ in range(3):
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
        return value - 0.05 * state["v"]

    close(after_three_steps(Sgd(learning_rate=0.05, momentum=momentum, weight_decay=decay)), by_hand(update))


def test_nesterov():
    def update(value, gradient, state, step, is_bias):
        gradient += 0.1 * value
        state["v"] = 0.9 * state.get("v", 0.0) + gradient
        return value - 0.05 * (gradient + 0.9 * state["v"])

    settings = Sgd(learning_rate=0.05, momentum=0.9, nesterov=True, weight_decay=0.1)
    close(after_three_steps(settings), by_hand(update))


def test_adamw_with_decoupled_decay_on_matrices_only():
    def update(value, gradient, state, step, is_bias):
        state["m"] = 0.8 * state.get("m", 0.0) + 0.2 * gradient
        state["v"] = 0.95 * state.get("v", 0.0) + 0.05 * gradient**2
        corrected = state["m"] / (1 - 0.8**step), state["v"] / (1 - 0.95**step)
        decay = 0.0 if is_bias else 0.3
        return value - 0.01 * (corrected[0] / (math.sqrt(corrected[1]) + 1e-6) + decay * value)

    settings = AdamW(learning_rate=0.01, beta1=0.8, beta2=0.95, eps=1e-6, weight_decay=0.3)
    close(after_three_steps(settings), by_hand(update))


def test_adamw_decays_no_bias_and_no_normalization_gain():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))
    optimizer = optimizers.build(AdamW(weight_decay=0.1), model)
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] > 0 for p in group["params"]}
    assert decayed == {id(model[0].weight), id(model[3].weight)}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))
