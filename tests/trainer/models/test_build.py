"""Every architecture in its odd cases: shapes, gradients, names, order."""

from itertools import pairwise
from typing import Any, get_args

import pytest
import torch
from torch import nn

from gyrostat.spec.architectures import Model
from gyrostat.spec.dropout import StochasticDepth
from gyrostat.spec.parse import parse
from gyrostat.spec.presets import PRESETS
from gyrostat.spec.regularization import Regularization
from gyrostat.spec.run import RunSpec
from trainer.models.build import build, initialized
from trainer.models.registry import MODELS
from trainer.models.unet import sinusoids
from trainer.stabilizers import initialization
from trainer.stabilizers.connections import Block, Join, ReZeroSum

PRE, POST = ({"kind": "residual", "placement": placement} for placement in ("pre", "post"))

DENSE_PREDICTION = ("unet", "fpn")

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
        {"kind": kind, **size, "width": 4, "norm": norm, "connection": connection}
        for kind, size in (("mlp", {"depth": 3}), ("resnet", {"depth": 3, "stages": 2}))
        for norm in (None, "batch")
        for connection in ("highway", "rezero", "layer_scale")
    ),
    *({"kind": "mlp", "depth": 4, "width": 4, "norm": norm, "connection": "dense"} for norm in (None, "batch")),
    *(
        {"kind": "densenet", "depth": 5, "width": 6, "growth": 4, "stages": stages, "norm": norm, "connection": c}
        for stages in (1, 4)
        for norm in (None, "batch", {"kind": "group", "groups": 1})
        for c in (None, "dense")
    ),
    *(
        {"kind": "highway_net", "depth": 5, "width": 4, "stages": stages, "norm": norm, "connection": connection}
        for stages in (1, 4)
        for norm in (None, "batch")
        for connection in (None, "highway")
    ),
    *(
        {"kind": kind, "depth": 4, "width": 4, "stages": stages, "norm": norm, "connection": connection}
        for kind in ("unet", "fpn")
        for stages in (1, 3)
        for norm in (None, "batch", {"kind": "group", "groups": 2})
        for connection in (None, PRE, POST)
    ),
    *({"kind": "unet", "width": 4, "norm": None, "connection": c} for c in ("highway", "rezero", "layer_scale")),
    {"kind": "unet", "width": 4, "norm": None, "skips": False},
    *(
        {"kind": "transformer", "depth": 2, "width": 8, "attention": {"kind": "multi_head", "heads": 2}, **settings}
        for settings in ({"norm": norm, "connection": c} for norm in (None, "layer") for c in (None, PRE, POST))
    ),
]


def spec_of(model: dict[str, Any], dropout: float | None = None) -> RunSpec:
    kind, dataset = ("classification", "digits")
    if model["kind"] == "transformer":
        kind, dataset = ("language_model", "python_topics")
    if model["kind"] in DENSE_PREDICTION:
        kind, dataset = ("segmentation", "shapes")
    document = {"task": {"kind": kind, "dataset": dataset}, "model": model, "optimizer": "sgd", "steps": 3}
    if dropout is not None:
        document["regularization"] = {"dropout": {"kind": "element", "rate": dropout}}
    return parse(document).spec


def built(spec: RunSpec) -> nn.Module:
    torch.manual_seed(0)
    net = build(spec.model, spec.regularization, (6,) if spec.model.kind == "transformer" else (1, 8, 8), 10)
    for module in net.modules():
        if isinstance(module, ReZeroSum):
            nn.init.constant_(module.scale, 0.5)  # at its start, 0, the branch has no gradient yet
    return net


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
    pixels = (8, 8) if model["kind"] in DENSE_PREDICTION else ()
    assert outputs.shape == ((4, 6, 10) if model["kind"] == "transformer" else (4, 10, *pixels))
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


DENSE_NETS = [{"kind": kind, "depth": 3, "width": 4, "norm": None, "stages": 3} for kind in DENSE_PREDICTION]


@pytest.mark.parametrize("model", DENSE_NETS, ids=named)
@pytest.mark.parametrize("size", [(7, 5), (9, 16), (1, 1), (13, 2)])
def test_images_of_any_size_get_an_answer_for_each_pixel(model, size):
    net = built(spec_of(model))
    assert net(torch.randn(2, 1, *size, generator=torch.Generator().manual_seed(0))).shape == (2, 10, *size)


def test_each_level_of_a_pyramid_has_its_stride_and_the_one_width():
    net = built(spec_of({"kind": "fpn", "depth": 4, "width": 6, "norm": None, "stages": 4}))
    levels = net.levels(torch.randn(2, 1, 21, 16, generator=torch.Generator().manual_seed(0)))
    assert [tuple(level.shape) for level in levels] == [
        (2, 6, 21, 16),
        (2, 6, 11, 8),
        (2, 6, 6, 4),
        (2, 6, 3, 2),
    ]


def test_a_pyramid_s_coarse_levels_reach_the_finer_ones():
    net = built(spec_of({"kind": "fpn", "depth": 3, "width": 4, "norm": None, "stages": 3}))
    x = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    before = net.levels(x)
    nn.init.zeros_(net.laterals[2].conv.weight)
    nn.init.zeros_(net.laterals[2].conv.bias)
    assert all(not torch.equal(old, new) for old, new in zip(before, net.levels(x), strict=True))


def test_without_skips_a_u_net_s_fine_answer_comes_through_the_coarsest_stage_alone():
    for skips in (True, False):
        net = built(spec_of({"kind": "unet", "depth": 3, "width": 4, "norm": None, "stages": 3, "skips": skips}))
        with torch.no_grad():
            for parameter in net.stages[2].parameters():
                parameter.zero_()
        one, other = (net(torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(s))) for s in (0, 1))
        assert torch.equal(one, other) is not skips


@pytest.mark.parametrize("norm", [None, {"kind": "group", "groups": 1}, {"kind": "group", "groups": 4}, "batch"])
def test_a_u_net_that_knows_time_answers_each_sample_by_its_own(norm):
    settings = spec_of({"kind": "unet", "width": 4, "norm": norm}).model
    torch.manual_seed(0)
    net = build(settings, Regularization(), (1, 8, 8), 1, time=True).eval()
    x = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)).expand(3, 1, 8, 8)
    early, late, again = net(x, torch.tensor([3, 700, 3]))
    assert not torch.allclose(early, late)
    torch.testing.assert_close(early, again)
    net(x, torch.tensor([3, 700, 3])).square().sum().backward()
    assert all(parameter.grad.norm() > 0 for parameter in net.time.parameters())
    with pytest.raises(ValueError, match="called without t"):
        net(x)
    with pytest.raises(ValueError, match="a net without time was called with t"):
        build(settings, Regularization(), (1, 8, 8), 1)(x, torch.zeros(3))


def test_only_denoising_makes_a_u_net_of_time():
    document = {"task": {"kind": "denoising", "dataset": "shapes"}, "model": "unet", "optimizer": "sgd", "steps": 1}
    x = torch.zeros(1, 1, 8, 8)
    spec = parse(document).spec
    assert initialized(spec, (1, 8, 8), 1, samples=(x, torch.zeros(1)), device=torch.device("cpu")).time is not None
    spec = spec_of({"kind": "unet"})
    assert initialized(spec, (1, 8, 8), 1, samples=(x,), device=torch.device("cpu")).time is None


def test_the_waves_that_embed_a_time_run_from_one_radian_a_step_to_the_longest_period():
    waves = sinusoids(torch.tensor([0, 5]), 3, torch.float64)
    angles = 5 * torch.tensor([1, 1e-2, 1e-4], dtype=torch.float64)
    torch.testing.assert_close(waves[0], torch.tensor([0, 0, 0, 1, 1, 1], dtype=torch.float64))
    torch.testing.assert_close(waves[1], torch.cat((angles.sin(), angles.cos())))


CLASSIFIERS = [
    {"kind": "mlp", "depth": 2, "width": 4, "connection": "dense"},
    {"kind": "mlp", "depth": 0},
    {"kind": "cnn", "depth": 2, "width": 4},
    {"kind": "resnet", "depth": 3, "width": 4},
    {"kind": "densenet", "depth": 3, "width": 4},
    {"kind": "highway_net", "depth": 3, "width": 4},
]


@pytest.mark.parametrize("model", CLASSIFIERS, ids=named)
def test_the_output_layer_reads_the_features(model):
    spec = spec_of(model)
    net, x = built(spec).eval(), an_input(spec)
    features = net.features(x)
    assert features.shape == (4, net.output.in_features)
    assert torch.equal(net(x), net.output(features))


def test_dense_layers_grow_by_as_many_channels_and_see_all_earlier_maps():
    spec = spec_of({"kind": "densenet", "depth": 4, "width": 6, "growth": 3, "stages": 2, "compression": 0.5})
    net = built(spec).eval()
    assert spec.model.channels() == [[6, 9, 12], [6, 9, 12]]
    layers = net.stages[0].layers
    assert [layer.conv.in_channels for layer in layers] == [6, 9]
    assert {layer.conv.out_channels for layer in layers} == {3}
    assert net.stages[1].transition.conv.weight.shape[:2] == (6, 12)
    x = torch.randn(2, 6, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(layers(x)[:, :6], x)
    assert torch.equal(layers(x)[:, :9], layers[0](x))


@pytest.mark.parametrize("kind", ["mlp", "densenet"])
def test_without_a_connection_layers_read_the_last_one_only(kind):
    spec = spec_of({"kind": kind, "depth": 3, "width": 6, "connection": None})
    assert not any(isinstance(module, Block) for module in built(spec).modules())


SCALED = [
    {"kind": "mlp", "depth": 3, "width": 8, "norm": "layer", "connection": "highway"},
    {"kind": "mlp", "depth": 3, "width": 8, "connection": "dense"},
    {"kind": "cnn", "depth": 3, "width": 8},
    {"kind": "resnet", "depth": 3, "width": 8, "connection": "layer_scale"},
    {"kind": "densenet", "depth": 3, "width": 8, "growth": 4},
    {"kind": "highway_net", "depth": 3, "width": 8},
    {"kind": "transformer", "width": 8},
    {"kind": "unet", "width": 8},
    {"kind": "fpn", "width": 8},
]


@pytest.mark.parametrize("model", SCALED, ids=named)
def test_parameters_grow_with_the_square_of_the_width_multiplier(model):
    # every weight joins hidden widths to hidden ones (quadratic) or to inputs and outputs (linear), biases are linear
    def parameters(factor: int) -> int:
        net = built(spec_of({**model, "scaling": {"kind": "multiplier", "factor": factor}}))
        return sum(parameter.numel() for parameter in net.parameters())

    counts = [parameters(factor) for factor in (1, 2, 3, 4)]
    rises = [after - before for before, after in pairwise(counts)]
    second = [after - before for before, after in pairwise(rises)]
    assert second[0] == second[1] > 0


def test_survival_falls_linearly_over_the_blocks_of_every_net_with_branches():
    net_of_three = {"kind": "unet", "depth": 2, "stages": 2, "width": 4, "norm": None, "connection": "rezero"}
    for model, expected in (
        (net_of_three, [1 - 0.5 * block / 3 for block in (1, 2, 3)]),
        ({"kind": "mlp", "depth": 3, "connection": PRE}, [0.75, 0.5]),
        ({"kind": "resnet", "depth": 4, "connection": POST}, [0.875, 0.75, 0.625, 0.5]),
    ):
        spec = spec_of(model)
        dropping = Regularization(stochastic_depth=StochasticDepth(survival=0.5))
        net = build(spec.model, dropping, (1, 8, 8), 10)
        assert [m.survival for m in net.modules() if isinstance(m, Join)] == pytest.approx(expected)
