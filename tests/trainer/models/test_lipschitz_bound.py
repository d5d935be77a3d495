"""What blocks tell of how their parts are joined makes a bound of the whole network."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gyrostat.probes.lipschitz import LipschitzBound
from gyrostat.probes.network import Network
from gyrostat.spec.parse import parse
from trainer.models.build import build


def network(model: dict[str, Any], shape: tuple[int, ...]) -> nn.Module:
    task = {"kind": "classification", "dataset": "digits"}
    spec = parse({"task": task, "model": model, "optimizer": "sgd", "steps": 1}).spec
    torch.manual_seed(0)
    return build(spec.model, spec.regularization, shape, 3).double()


def jacobian(function: nn.Module, x: torch.Tensor) -> np.ndarray:
    found = torch.autograd.functional.jacobian(function, x)
    return found.reshape(-1, x.numel()).numpy()  # type: ignore[no-any-return]


def operator_norms(model: nn.Module, x: torch.Tensor) -> list[float]:
    """Of every linear layer and convolution on what it is called with, by dense matrices."""
    norms: dict[nn.Module, float] = {}

    def look(layer: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        if layer not in norms:
            norms[layer] = 0.0  # the layer is called again inside
            norms[layer] = float(np.linalg.norm(jacobian(layer, arguments[0].detach()), 2))

    layers = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    handles = [layer.register_forward_pre_hook(look) for layer in layers]
    model(x)
    for handle in handles:
        handle.remove()
    return [norms[layer] for layer in layers]


MODELS: dict[str, dict[str, Any]] = {
    "mlp": {"kind": "mlp", "depth": 3, "width": 8},
    "residual mlp": {"kind": "mlp", "depth": 4, "width": 8, "connection": "residual"},
    "rezero": {"kind": "mlp", "depth": 4, "width": 8, "connection": "rezero"},
    "dense": {"kind": "mlp", "depth": 4, "width": 8, "connection": "dense"},
    "cnn": {"kind": "cnn", "depth": 3, "width": 4, "stages": 2, "norm": "batch"},
    "resnet": {"kind": "resnet", "depth": 3, "width": 4, "stages": 2, "norm": "batch"},
}


@pytest.mark.parametrize("kind", MODELS)
def test_the_network_is_nowhere_steeper_than_its_bound_and_not_much_less_steep(kind: str) -> None:
    shape = (6,) if "mlp" in kind or kind in ("rezero", "dense") else (1, 6, 6)
    model = network(MODELS[kind], shape).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("scale"):
                parameter.fill_(-2.0)
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(1, *shape, generator=generator, dtype=torch.float64) for _ in range(20)]
    norms = torch.tensor(operator_norms(model, inputs[0]))
    named = Network(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert len(named.matrices) == len(norms)
    bound = LipschitzBound(named).log(norms)
    assert bound is not None
    steepest = max(float(np.linalg.norm(jacobian(model, x), 2)) for x in inputs)
    assert steepest <= bound.exp().item() <= 2000 * steepest


def test_a_residual_block_without_its_branch_is_the_identity() -> None:
    model = network(MODELS["residual mlp"], (6,))
    names = list(Network(model, torch.optim.SGD(model.parameters(), lr=0.1)).matrices)
    inside = torch.tensor([0.0 if ".linear" in name and not name.startswith("layers.0.") else 1.0 for name in names])
    assert 0 < inside.sum() < len(names)
    bound = LipschitzBound(Network(model, torch.optim.SGD(model.parameters(), lr=0.1))).log(inside)
    assert bound == pytest.approx(0)


@pytest.mark.parametrize(
    "model",
    [
        {"kind": "mlp", "depth": 3, "width": 8, "connection": "highway"},
        {"kind": "mlp", "depth": 3, "width": 8, "norm": "layer"},
    ],
)
def test_gates_and_layer_normalization_leave_no_bound(model: dict[str, Any]) -> None:
    net = network(model, (6,))
    named = Network(net, torch.optim.SGD(net.parameters(), lr=0.1))
    assert LipschitzBound(named).log(torch.ones(len(named.matrices))) is None
