import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from gyrostat.probes import ProbeSession
from gyrostat.probes.lipschitz import LipschitzBound
from gyrostat.probes.network import Network


def bound(model: nn.Module, *norms: float) -> Tensor | None:
    network = Network(model, torch.optim.SGD(model.parameters(), lr=0.1))
    return LipschitzBound(network).log(torch.tensor(norms))


ACTIVATIONS = [
    nn.ReLU(), nn.ReLU6(), nn.Hardtanh(), nn.Tanh(), nn.LogSigmoid(), nn.Softplus(), nn.CELU(2.0), nn.Softsign(),
    nn.Tanhshrink(), nn.Softshrink(), nn.Identity(), nn.Sigmoid(), nn.Hardsigmoid(), nn.Hardswish(), nn.GELU(),
    nn.GELU("tanh"), nn.SiLU(), nn.Mish(), nn.SELU(), nn.ELU(0.5), nn.ELU(3.0), nn.LeakyReLU(0.2), nn.LeakyReLU(2.0),
    nn.PReLU(init=0.5), nn.PReLU(init=-1.5),
]  # fmt: skip


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_the_steepest_slope_of_each_activation_is_what_is_taken(activation: nn.Module) -> None:
    x = torch.linspace(-12, 12, 400_001, dtype=torch.float64, requires_grad=True)
    (slopes,) = torch.autograd.grad(activation.double()(x).sum(), x)
    model = nn.Sequential(nn.Linear(1, 1), activation)
    found = bound(model, 1.0)
    assert found is not None
    assert slopes.abs().max().item() <= found.exp().item() <= 1.001 * slopes.abs().max().item()


def stretch(layer: nn.Module, shape: tuple[int, ...]) -> float:
    """The most that pairs of inputs, one element or a random many apart, were drawn apart."""
    generator = torch.Generator().manual_seed(0)
    most = 0.0
    for _ in range(300):
        x = torch.randn(1, *shape, generator=generator, dtype=torch.float64)
        way = torch.zeros_like(x)
        way.view(-1)[torch.randint(way.numel(), (1,), generator=generator)] = 9.0
        with torch.no_grad():
            most = max(most, float((layer(x + way) - layer(x)).norm() / way.norm()))
    return most


@pytest.mark.parametrize(
    ("pool", "constant"),
    [(nn.MaxPool2d(2), 1), (nn.MaxPool2d(3, 2), 2), (nn.MaxPool2d(3, 1), 3), (nn.MaxPool1d(3, stride=1), math.sqrt(3)),
     (nn.AvgPool2d(2), 1), (nn.AdaptiveAvgPool2d(1), 1)],
    ids=str,
)  # fmt: skip
def test_pooling_stretches_no_more_than_is_taken(pool: nn.Module, constant: float) -> None:
    shape = (2, 8) if isinstance(pool, nn.MaxPool1d) else (2, 8, 8)
    found = bound(nn.Sequential(nn.Linear(1, 1), pool), 1.0)
    assert found is not None
    assert found.exp().item() == pytest.approx(constant)
    assert stretch(pool, shape) <= constant + 1e-12


def test_layers_one_after_another_multiply_and_batch_normalization_counts_as_in_eval() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(3, 2))
    normalization = model[1]
    with torch.no_grad():
        normalization.weight.copy_(torch.tensor([1.0, -4.0, 2.0]))
        normalization.running_var.copy_(torch.tensor([1.0, 4.0, 0.01]))
    found = bound(model, 3.0, 5.0)
    assert found is not None
    assert found.item() == pytest.approx(math.log(3 * 5 * 2 / math.sqrt(0.01 + normalization.eps)))


@pytest.mark.parametrize(
    "part",
    [nn.LayerNorm(4), nn.GroupNorm(1, 4), nn.MultiheadAttention(4, 2), nn.Embedding(3, 4), nn.LSTM(4, 4),
     nn.BatchNorm1d(4, track_running_stats=False), nn.Bilinear(2, 2, 2), nn.AdaptiveAvgPool2d(2)],
    ids=str,
)  # fmt: skip
def test_what_has_no_useful_constant_leaves_the_network_without_a_bound(part: nn.Module) -> None:
    matrices = sum(p.ndim > 1 for p in nn.Sequential(nn.Linear(2, 2), part).parameters())
    assert bound(nn.Sequential(nn.Linear(2, 2), part), *[1.0] * matrices) is None


def test_a_layer_that_is_dead_makes_the_bound_zero_and_one_that_comes_to_life_ends_that() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    nn.init.zeros_(model[1].weight)
    network = Network(model, torch.optim.SGD(model.parameters(), lr=0.1))
    measured = LipschitzBound(network)
    assert measured.log(torch.ones(1)) == -math.inf
    nn.init.ones_(model[1].weight)
    assert measured.log(torch.ones(1)) == pytest.approx(0, abs=1e-5)


def test_a_measured_network_stretches_nothing_beyond_its_bound(sink: Any, only: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        parametrizations.weight_norm(nn.Conv2d(4, 4, 3, padding=1, groups=2)),
        nn.GELU(),
        nn.Flatten(),
        nn.Linear(64, 3),
    )
    with ProbeSession(model, torch.optim.SGD(model.parameters()), only("spectral"), sink=sink, scalars=[]) as session:
        session.begin_step(1)
        model(torch.randn(5, 1, 8, 8))
        session.after_backward()
        session.after_update()
        session.end_step({}, epoch=0)
    model.eval().double()
    x = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(model, x).reshape(3, 64)
    steepest = float(np.linalg.svd(jacobian.numpy(), compute_uv=False)[0])
    logarithm = float(sink.frames[1]["weight.lipschitz_bound"][0])
    assert steepest < 10**logarithm < 1e3 * steepest
    norms = [value for name, value in sink.at(1, "weight.operator_norm").items() if "original0" not in name]
    assert len(norms) == 3
    normalization = model[1]
    gains = normalization.weight.detach().abs() / (normalization.running_var + normalization.eps).sqrt()
    assert 10**logarithm == pytest.approx(np.prod(norms) * 1.1291 * float(gains.max()), rel=1e-4)
