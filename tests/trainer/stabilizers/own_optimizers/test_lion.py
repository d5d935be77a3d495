"""Lion at every curvature: it has no limit, and what is said of it instead holds."""

import pytest
import torch
from torch import nn

from gyrostat.probes.curvature import Curvature
from gyrostat.probes.network import Network
from gyrostat.probes.stability import limit
from gyrostat.spec.probes import CurvatureProbe
from trainer.stabilizers.own_optimizers import Lion

RATE = 0.01
OF_SGD = 2 / RATE
"""The limit of gradient descent at this rate."""


def path(curvature, *, betas=(0.9, 0.99), weight_decay=0.0, steps=2000):
    """Where ½·curvature·θ² takes Lion, (steps, 3), from three places of different size and sign."""
    theta = nn.Parameter(torch.tensor([1.0, -0.3, 1e-3], dtype=torch.float64))
    optimizer = Lion([theta], lr=RATE, betas=betas, weight_decay=weight_decay)
    assert limit(optimizer) is None
    places = []
    for _ in range(steps):
        theta.grad = curvature * theta.detach()
        optimizer.step()
        places.append(theta.detach().clone())
    return torch.stack(places)


@pytest.mark.parametrize("weight_decay", [0.0, 3.0])
def test_its_path_on_a_quadratic_is_the_same_at_every_curvature(weight_decay):
    # powers of two, which round nothing: far below gradient descent's limit of 200, just below and above, far above
    paths = [path(2.0**power, weight_decay=weight_decay, steps=1000) for power in (-20, 7, 8, 40)]
    assert 2.0**7 < OF_SGD < 2.0**8
    assert all(torch.equal(paths[0], other) for other in paths[1:])


@pytest.mark.parametrize("betas", [(0.9, 0.99), (0.95, 0.98), (0.9, 0.9), (0.0, 0.5)])
@pytest.mark.parametrize("relative", [0.98, 1.02, 1e6])
def test_it_ends_in_an_oscillation_of_the_stated_length_where_gradient_descent_would_blow_up(betas, relative):
    first, second = betas
    late = path(relative * OF_SGD, betas=betas)[-1000:]
    assert late.abs().max() <= 1.0001 * RATE * (1 + first / (1 - second))
    # and it does oscillate, at the length of a step at least: it neither ends at the minimum nor leaves it
    assert ((late.amax(0) - late.amin(0)) >= 0.99 * RATE).all()


def test_a_measurement_has_a_sharpness_and_neither_a_limit_nor_a_place_under_one():
    model = nn.Linear(3, 1, bias=False)
    inputs = torch.eye(3) * torch.tensor([1.0, 2.0, 3.0])
    optimizer = Lion(model.parameters(), lr=RATE, betas=(0.9, 0.99))
    found = Curvature(
        CurvatureProbe(), Network(model, optimizer, probe_loss=lambda: model(inputs).square().mean())
    ).after_update()
    assert found["curvature.sharpness"] == pytest.approx(2 * 9 / 3, rel=0.01)
    assert not {"curvature.limit", "curvature.sharpness_over_limit"} & set(found)
