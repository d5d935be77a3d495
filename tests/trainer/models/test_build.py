"""Every architecture in its odd cases: shapes, gradients, names, order."""

from typing import Any, get_args

import pytest
import torch
from torch import nn

from gyrostat.spec.architectures import Model
from gyrostat.spec.parse import parse
from gyrostat.spec.presets import PRESETS
from gyrostat.spec.run import RunSpec
from trainer.models.build import build
from trainer.models.registry import MODELS
from trainer.stabilizers import initialization

PRE, POST = ({"kind": "residual", "placement": placement} for placement in ("pre", "post"))

MODELS_TO_TRY: list[dict[str, Any]] = [
    {"kind": "mlp", "depth": 0},
    {"kind": "mlp", "depth": 1, "width": 1, "connection": PRE},
    *(
        {"kind": "mlp", "depth": 3, "width": 8, "norm": norm, "connection": connection}
        for norm in (None, "batch", "layer", {"kind": "group", "groups": 4})
        for connection in (None, PRE, POST)
    ),
    *({"kind": "cnn", "depth": depth, "width": 4, "stages": stages} for depth, stages in ((1, 1), (3, 2), (4, 4))),
    *(
        {"kind": "cnn", "depth": 3, "width": 4, "norm": norm}
        for norm in ("batch", "layer", {"kind": "group", "groups": 2})
    ),
    *(
        {"kind": "resnet", "depth": 4, "width": 4, "stages": stages, "norm": norm, "connection": connection}
        for stages in (1, 4)
        for norm in (None, "batch", {"kind": "group", "groups": 2})
        for connection in (None, PRE, POST)
    ),
    *(
        {"kind": "transformer", "depth": 2, "width": 8, "attention": {"kind": "multi_head", "heads": 2}, **settings}
        for settings in ({"norm": norm, "connection": c} for norm in (None, "layer") for c in (None, PRE, POST))
    ),
]


def spec_of(model: dict[str, Any], dropout: float | None = None) -> RunSpec:
    kind, dataset = ("classification", "digits")
    if model["kind"] == "transformer":
        kind, dataset = ("language_model", "python_topics")
    document = {"task": {"kind": kind, "dataset": dataset}, "model": model, "optimizer": "sgd", "steps": 3}
    if dropout is not None:
        document["regularization"] = {"dropout": {"kind": "element", "rate": dropout}}
    return parse(document).spec


def built(spec: RunSpec) -> nn.Module:
    torch.manual_seed(0)
    return build(spec.model, spec.regularization, (6,) if spec.model.kind == "transformer" else (1, 8, 8), 10)


def an_input(spec: RunSpec) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    if spec.model.kind == "transformer":
        return torch.randint(10, (4, 6), generator=generator)
    return torch.randn(4, 1, 8, 8, generator=generator)


def named(model: dict[str, Any]) -> str:
    return "-".join(
        str(value.get("placement", value["kind"]) if isinstance(value, dict) else value) for value in model.values()
    )


@pytest.mark.parametrize("model", MODELS_TO_TRY, ids=named)
def test_it_has_the_right_shape_and_a_gradient_for_every_parameter(model):
    spec = spec_of(model)
    net = built(spec)
    outputs = net(an_input(spec))
    assert outputs.shape == ((4, 6, 10) if model["kind"] == "transformer" else (4, 10))
    outputs.square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("model", MODELS_TO_TRY, ids=named)
def test_leaf_modules_are_named_in_the_order_in_which_they_run_and_each_runs_once(model):
    spec = spec_of(model, dropout=0.1)
    net, ran = built(spec), []
    leaves = [name for name, module in net.named_modules() if not list(module.children())]
    for name in leaves:
        net.get_submodule(name).register_forward_hook(lambda module, arguments, output, name=name: ran.append(name))
    net(an_input(spec))
    assert ran == leaves
    assert not any(isinstance(net.get_submodule(name), nn.Identity) for name in leaves)


@pytest.mark.parametrize("model", MODELS_TO_TRY, ids=named)
def test_no_parameter_is_without_effect(model):
    # a bias before batch normalization, or of attention's keys, would have no gradient but rounding errors
    spec = spec_of({**model, "activation": "gelu"})
    net, x = built(spec).double(), an_input(spec)
    outputs = net(x.double() if x.is_floating_point() else x)
    (outputs * torch.randn(outputs.shape, generator=torch.Generator().manual_seed(2)).double()).sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad.norm() > 1e-9, name


@pytest.mark.parametrize("kind", list(get_args(get_args(Model)[0])), ids=lambda model: model.__name__)
def test_every_architecture_of_the_spec_is_registered(kind):
    assert kind in MODELS


def test_names_read_well_on_a_heatmap():
    def names(preset: str) -> set[str]:
        return {name for name, _ in built(PRESETS[preset].spec).named_modules()}

    assert {"layers.0.linear", "layers.0.activation", "output"} <= names("digits-mlp")
    assert {"stages.1.layers.2.conv", "stages.1.layers.2.norm"} <= names("digits-cnn")
    assert {"stem.conv", "stages.0.blocks.1.conv2", "stages.1.blocks.0.shortcut.conv"} <= names("digits-resnet")
    assert {"blocks.1.attention.query", "blocks.1.mlp.activation", "final.norm"} <= names("text-transformer")


@pytest.mark.parametrize("kind", ["mlp", "resnet", "transformer"])
def test_with_pre_placement_and_zeroed_branches_every_block_is_the_identity(kind):
    spec = spec_of({"kind": kind, "depth": 3, "width": 8, "norm": None, "connection": PRE, **EXTRA[kind]})
    net = built(spec)
    blocks = {"mlp": lambda: net.layers[1:], "resnet": lambda: net.stages[0].blocks, "transformer": lambda: net.blocks}
    x = torch.randn((2, 8, 4, 4) if kind == "resnet" else (2, 5, 8), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for block in blocks[kind]():
            for parameter in block.parameters():
                parameter.zero_()
            assert torch.equal(block(x), x)


EXTRA: dict[str, dict[str, Any]] = {"mlp": {}, "resnet": {"stages": 1}, "transformer": {}}


def test_a_transformer_s_post_placement_normalizes_after_the_sum():
    spec = spec_of({"kind": "transformer", "depth": 1, "width": 8, "norm": "layer", "connection": POST})
    block = built(spec).blocks[0]
    x = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    between = block.attention_norm(x + block.attention(x))
    torch.testing.assert_close(block(x), block.mlp_norm(between + block.mlp(between)))


def test_a_resnet_s_post_placement_is_he_s_first_block():
    spec = spec_of({"kind": "resnet", "depth": 1, "width": 4, "stages": 1, "connection": POST})
    block = built(spec).stages[0].blocks[0].eval()
    x = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    branch = block.norm2(block.conv2(block.norm1(block.conv1(x)).relu()))
    torch.testing.assert_close(block(x), (branch + x).relu())


def test_a_resnet_s_pre_placement_is_he_s_second_block():
    spec = spec_of({"kind": "resnet", "depth": 1, "width": 4, "stages": 1, "connection": PRE})
    block = built(spec).stages[0].blocks[0].eval()
    x = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    branch = block.conv2(block.norm2(block.conv1(block.norm1(x).relu())).relu())
    torch.testing.assert_close(block(x), branch + x)


def test_a_transformer_sees_nothing_of_the_future():
    spec = spec_of({"kind": "transformer", "depth": 2, "width": 8})
    net, tokens = built(spec), an_input(spec)
    changed = tokens.clone()
    changed[:, 3:] = (changed[:, 3:] + 1) % 10
    assert torch.equal(net(tokens)[:, :3], net(changed)[:, :3])


def first_over_last(model: dict[str, Any]) -> float:
    """Gradient norm of the second weight over that of the last but one."""
    spec = spec_of(model)
    net = built(spec)
    initialization.initialize(
        net, parse({**spec.model_dump(mode="json"), "init": "he_normal"}).spec.init, spec.model.activation
    )
    nn.functional.cross_entropy(net(an_input(spec)), torch.arange(4)).backward()
    norms = [p.grad.norm().item() for p in net.parameters() if p.ndim > 1]
    return norms[1] / norms[-2]


def test_residual_connections_carry_the_gradient_through_50_layers_that_a_plain_saturating_net_loses():
    deep = {"kind": "mlp", "depth": 50, "width": 32, "activation": "tanh"}
    assert 0.1 < first_over_last({**deep, "norm": "layer", "connection": PRE}) < 10
    assert first_over_last({**deep, "activation": "sigmoid"}) < 1e-3
