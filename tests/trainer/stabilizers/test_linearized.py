"""A linearization against the network it is of, its Jacobian, and itself after a checkpoint."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gyrostat.probes.undisturbed import undisturbed
from gyrostat.spec.linearized import Linearized
from gyrostat.spec.parse import parse
from tests.gyrostat.spec.documents import TEXT, document, problems
from trainer.models.build import initialized
from trainer.stabilizers.linearized import Linearization, linearize

GATED = {"kind": "mlp", "depth": 3, "width": 6, "activation": "gelu", "norm": "layer", "connection": "highway"}
MODELS: list[dict[str, Any]] = [
    GATED,
    {"kind": "resnet", "depth": 2, "width": 4, "stages": 1, "norm": "instance", "connection": "layer_scale"},
    {"kind": "densenet", "depth": 2, "width": 4, "stages": 1, "norm": "rms"},
    {"kind": "transformer", "depth": 1, "width": 8},
    {"kind": "unet", "depth": 2, "stages": 2, "width": 8},
    {"kind": "fpn", "depth": 2, "stages": 2, "width": 4, "norm": "layer"},
]


def made(model: dict[str, Any], *, linear: bool, **changes: Any) -> tuple[nn.Module, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape, x = (1, 8, 8), torch.randn(3, 1, 8, 8, generator=generator)
    if model["kind"] == "transformer":
        changes |= {"task": TEXT, "schedule": {"kind": "constant"}}
        shape, x = (6,), torch.randint(5, (3, 6), generator=generator)
    elif model["kind"] in ("unet", "fpn"):
        changes |= {"task": {"kind": "segmentation", "dataset": "shapes"}}
    spec = parse(document(model=model, linearized="taylor" if linear else None, **changes)).spec
    return initialized(spec, shape, 5, samples=(x,), device=torch.device("cpu")), x


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model["kind"])
def test_at_its_start_it_is_the_network_and_has_its_gradient(model):
    (network, x), (linear, _) = made(model, linear=False), made(model, linear=True)
    torch.testing.assert_close(linear(x), network(x))
    for net in (network, linear):
        net(x).square().sum().backward()
    gradients = {name: p.grad for name, p in linear.named_parameters()}
    assert list(gradients) == [name for name, _ in network.named_parameters()]
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-4, atol=1e-4)


def test_without_attention_it_is_the_network_bit_for_bit():
    (network, x), (linear, _) = made(GATED, linear=False), made(GATED, linear=True)
    assert torch.equal(linear(x), network(x))


def encoder(model: dict[str, Any]) -> tuple[nn.Module, Tensor]:
    """A linearized transformer that reads images."""
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    spec = parse(document(model=model, linearized="taylor", schedule={"kind": "constant"})).spec
    return initialized(spec, (1, 8, 8), 5, samples=(x,), device=torch.device("cpu")), x


def moved(net: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def test_away_from_its_start_it_is_the_taylor_expansion_by_explicit_jacobians():
    (network, x), (linear, _) = made(GATED, linear=False), made(GATED, linear=True)
    network, linear, x = network.double(), linear.double(), x.double()
    moved(linear, 1)
    expected = network(x).detach()
    for start, now in zip(network.parameters(), linear.parameters(), strict=True):
        rows = [torch.autograd.grad(output, start, retain_graph=True)[0] for output in network(x).flatten()]
        expected += torch.stack([(row * (now - start)).sum() for row in rows]).detach().view_as(expected)
    torch.testing.assert_close(linear(x), expected)
    assert not torch.allclose(linear(x), network(x), rtol=1e-3)


def test_the_gradient_of_its_output_does_not_depend_on_where_it_is():
    linear, x = made(GATED, linear=True)
    parameters = list(linear.parameters())
    before = torch.autograd.grad(linear(x).sum(), parameters)
    moved(linear, 2)
    after = torch.autograd.grad(linear(x).sum(), parameters)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_hessian_vector_products_go_through_and_a_convex_loss_has_no_negative_curvature():
    linear, x = made({"kind": "mlp", "depth": 1, "width": 3, "activation": "tanh"}, linear=True)
    linear, x = linear.double(), x.double()
    moved(linear, 3)
    parameters = list(linear.parameters())
    with undisturbed(linear):
        loss = nn.functional.cross_entropy(linear(x), torch.tensor([0, 1, 2]))
        gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters, create_graph=True)])
        rows = [torch.autograd.grad(entry, parameters, retain_graph=True) for entry in gradient[::7]]
    hessian = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])[:, ::7]
    assert torch.linalg.eigvalsh((hessian + hessian.mT) / 2).min() > -1e-12
    torch.testing.assert_close(hessian, hessian.mT)


def test_its_state_goes_through_a_checkpoint_with_start_and_present():
    linear, x = made(GATED, linear=True)
    moved(linear, 4)
    other = linearize(made({**GATED}, linear=False, seed=9)[0], Linearized())
    other.load_state_dict(linear.state_dict())
    assert torch.equal(other(x), linear(x))
    assert {"output.weight", "start.output/weight"} <= set(linear.state_dict())


def test_modes_reach_the_network_s_own_modules():
    linear, x = made({**GATED}, linear=True, regularization={"dropout": "gaussian", "dropconnect": "dropconnect"})
    assert isinstance(linear, Linearization)
    assert not torch.equal(linear(x), linear(x))
    linear.eval()
    assert torch.equal(linear(x), linear(x))
    with undisturbed(linear.train()):
        assert torch.equal(linear(x), linear(x))
    assert linear.training


def test_hooks_may_keep_what_they_see():
    linear, x = made(GATED, linear=True)
    kept = torch.zeros(3, 6)
    linear.layers[0].linear.register_forward_hook(lambda module, arguments, output: kept.copy_(output.detach()))
    linear(x).sum().backward()
    assert kept.abs().sum() > 0


@pytest.mark.parametrize(
    ("changes", "mend"),
    [
        ({"model": {"kind": "resnet"}}, "'group' or 'layer'"),
        ({"parametrization": {"kind": "spectral_norm"}}, "parametrization null"),
        ({"parametrization": {"kind": "weight_norm"}}, "parametrization null"),
        ({"task": {"kind": "vae", "dataset": "shapes"}}, "'classification'"),
    ],
)
def test_what_has_no_fixed_linearization_is_refused_with_a_mend(changes, mend):
    found = problems(linearized="taylor", **changes)
    assert list(found) == ["linearized"]
    assert mend in found["linearized"].mend


SMOOTH = [
    GATED,
    GATED | {"norm": "rms"},
    {
        "kind": "resnet",
        "depth": 2,
        "width": 4,
        "stages": 1,
        "norm": {"kind": "group", "groups": 2},
        "activation": "gelu",
    },
    {"kind": "densenet", "depth": 2, "width": 4, "stages": 1, "norm": "instance", "activation": "silu"},
    {"kind": "resnet", "depth": 2, "width": 4, "stages": 1, "norm": "layer", "activation": "tanh"},
    {"kind": "transformer", "layout": "encoder", "depth": 2, "width": 8},
    {
        "kind": "transformer",
        "layout": "encoder",
        "depth": 1,
        "width": 8,
        "attention": {"kind": "self", "logit_soft_cap": {"kind": "logit_soft_cap", "cap": 2.0}},
    },
]


@pytest.mark.parametrize("model", SMOOTH, ids=lambda model: f"{model['kind']}-{model.get('norm')}")
def test_its_gradient_with_respect_to_its_inputs_is_that_of_its_values(model):
    """Against central differences in float64 of what forward mode answers."""
    net, _ = (
        made(model, linear=True, schedule={"kind": "constant"}) if model["kind"] != "transformer" else encoder(model)
    )
    moved(net, 2)
    net.double().eval()
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1)).double().requires_grad_()
    answer = net(x)
    torch.testing.assert_close(answer, net(x.detach()))
    (slope,) = torch.autograd.grad(answer.square().sum(), x)
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(3), dtype=x.dtype)
    with torch.no_grad():
        ends = [net(x + sign * 1e-5 * direction).square().sum() for sign in (1, -1)]
    assert (slope * direction).sum().item() == pytest.approx(((ends[0] - ends[1]) / 2e-5).item(), rel=1e-6)


def test_parameters_learn_the_same_whether_or_not_inputs_have_a_gradient():
    net, x = made(GATED, linear=True)
    moved(net, 2)
    for inputs in (x, x.clone().requires_grad_()):
        net.zero_grad()
        net(inputs).square().sum().backward()
        gradients = {name: p.grad.clone() for name, p in net.named_parameters()}
        if inputs is x:
            expected = gradients
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-4)
