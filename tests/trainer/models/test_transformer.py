"""The three layouts of the transformer: shapes, who sees whom, what switches off what."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gyrostat.spec.activations import Relu
from gyrostat.spec.architectures import Transformer
from gyrostat.spec.initialization import HeNormal, ZeroLast
from gyrostat.spec.regularization import Regularization
from trainer.models.build import build
from trainer.stabilizers import initialization

SETTINGS = {
    "decoder": {},
    "encoder": {"layout": "encoder"},
    "encoder_decoder": {"layout": "encoder_decoder", "cross": {"kind": "cross", "heads": 2}},
}
SHAPES = {"decoder": (6,), "encoder": (1, 8, 8), "encoder_decoder": (5, 6)}
CONNECTIONS = [
    None,
    {"kind": "residual", "placement": "pre"},
    {"kind": "residual", "placement": "post"},
    "highway",
    "rezero",
    "layer_scale",
]


def built(layout: str, shape: tuple[int, ...] | None = None, outputs: int = 10, **changes: Any) -> nn.Module:
    regularization = Regularization.model_validate(changes.pop("regularization", {}))
    document = {"depth": 2, "width": 8, "attention": {"kind": "multi_head", "heads": 2}, **SETTINGS[layout], **changes}
    torch.manual_seed(0)
    return build(Transformer.model_validate(document), regularization, shape or SHAPES[layout], outputs)


def inputs(layout: str) -> tuple[Tensor, ...]:
    draw = torch.Generator().manual_seed(1)
    if layout == "encoder":
        return (torch.randn(4, 1, 8, 8, generator=draw),)
    return tuple(torch.randint(10, (4, length), generator=draw) for length in SHAPES[layout])


every_layout = pytest.mark.parametrize("layout", SETTINGS)


@every_layout
@pytest.mark.parametrize("norm", [None, "layer", "rms"])
@pytest.mark.parametrize("connection", CONNECTIONS, ids=str)
def test_it_has_the_right_shape_and_a_gradient_for_every_parameter(layout, norm, connection):
    net = built(layout, norm=norm, connection=connection)
    outputs = net(*inputs(layout))
    assert outputs.shape == ((4, 10) if layout == "encoder" else (4, 6, 10))
    outputs.square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@every_layout
@pytest.mark.parametrize("attention", ["self", {"kind": "multi_head", "heads": 2, "qk_norm": "qk_norm"}], ids=str)
def test_leaf_modules_are_named_in_the_order_in_which_they_run_and_each_runs_once(layout, attention):
    net, ran = built(layout, attention=attention, regularization={"dropout": "element"}), []
    leaves = [name for name, module in net.named_modules() if not list(module.children())]
    for name in leaves:
        net.get_submodule(name).register_forward_hook(lambda module, arguments, output, name=name: ran.append(name))
    net(*inputs(layout))
    assert ran == leaves


def test_an_encoder_decoder_s_target_sees_nothing_of_its_future_and_all_of_the_source():
    net = built("encoder_decoder").double()
    source, target = inputs("encoder_decoder")
    changed = target.clone()
    changed[:, 3:] = (changed[:, 3:] + 1) % 10
    assert torch.equal(net(source, target)[:, :3], net(source, changed)[:, :3])
    assert not torch.allclose(net(source, target)[:, 3:], net(source, changed)[:, 3:])
    for position in range(source.shape[1]):
        other = source.clone()
        other[:, position] = (other[:, position] + 1) % 10
        moved = (net(source, target) - net(other, target)).abs().amax(-1)
        assert (moved > 1e-9).all()


def test_without_cross_attention_the_source_is_not_seen_and_there_is_no_encoder():
    net = built("encoder_decoder", cross=None)
    source, target = inputs("encoder_decoder")
    assert torch.equal(net(source, target), net((source + 1) % 10, target))
    assert {name.split(".")[0] for name, _ in net.named_parameters()} == {"decoder", "output"}


def test_an_encoder_decoder_is_vaswani_s_by_the_formula():
    net = built("encoder_decoder", depth=1, connection={"kind": "residual", "placement": "post"}).double()
    source, target = inputs("encoder_decoder")

    def embedded(stack, tokens):
        return stack.token_embedding.weight[tokens] + stack.position_embedding.weight[: tokens.shape[1]]

    memory, block = embedded(net.encoder, source), net.encoder.blocks[0]
    memory = block.attention_norm(memory + block.attention(memory))
    memory = block.mlp_norm(memory + block.mlp(memory))
    x, block = embedded(net.decoder, target), net.decoder.blocks[0]
    x = block.attention_norm(x + block.attention(x))
    x = block.cross_attention_norm(x + block.cross_attention(x, memory))
    x = block.mlp_norm(x + block.mlp(x))
    torch.testing.assert_close(net(source, target), net.output(x))
    assert block.attention.causal
    assert not net.encoder.blocks[0].attention.causal


def test_an_encoder_reads_in_both_directions_and_its_outputs_are_linear_in_its_features():
    net = built("encoder").double()
    (x,) = inputs("encoder")
    x = x.double().requires_grad_()
    features = net.features(x)
    assert features.shape == (4, 8)
    torch.testing.assert_close(net(x), functional.linear(features, net.output.weight, net.output.bias))
    net(x).square().sum().backward()
    assert (x.grad != 0).all()


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 5), (2, 1, 9), (1, 2, 2)])
@pytest.mark.parametrize("patch", [1, 2, 3, 16])
def test_patches_are_the_image_s_squares_row_by_row_padded_with_zeros(shape, patch):
    net = built("encoder", shape=shape, patch=patch)
    image = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    channels, height, width = shape
    padded = torch.zeros(2, channels, -(-height // patch) * patch, -(-width // patch) * patch)
    padded[..., :height, :width] = image
    squares = [
        padded[..., top : top + patch, left : left + patch].flatten(1)
        for top in range(0, padded.shape[2], patch)
        for left in range(0, padded.shape[3], patch)
    ]
    assert torch.equal(net.parts(image), torch.stack(squares, 1))
    assert net(image).shape == (2, 10)


@pytest.mark.parametrize(("shape", "values"), [((7,), 1), ((7, 3), 3), ((7, 2, 3, 2), 12)])
def test_the_parts_of_other_samples_lie_along_their_first_axis(shape, values):
    net = built("encoder", shape=shape, outputs=1)
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(net.parts(x), x.reshape(2, 7, values))
    assert net(x).shape == (2, 1)


@every_layout
def test_survival_falls_with_depth_and_eval_keeps_every_branch(layout):
    drops = {"stochastic_depth": {"kind": "stochastic_depth", "survival": 0.5}}
    net = built(layout, depth=4, regularization=drops)
    blocks = (net.decoder if layout == "encoder_decoder" else net).blocks
    assert [block.attention_connection.survival for block in blocks] == [0.875, 0.75, 0.625, 0.5]
    given = inputs(layout)
    assert not torch.equal(net(*given), net(*given))
    net.eval()
    plain = built(layout, depth=4).eval()
    assert torch.equal(net(*given), plain(*given))


@every_layout
def test_zero_last_makes_every_block_the_identity_at_the_start(layout):
    net = built(layout)
    initialization.initialize(net, HeNormal(), Relu(), zero_last=ZeroLast())
    stacks = (net.encoder, net.decoder) if layout == "encoder_decoder" else (net,)
    x, memory = torch.randn(2, 5, 8), torch.randn(2, 3, 8)
    for block in (block for stack in stacks for block in stack.blocks):
        assert torch.equal(block(x, memory), x)
        ends = [block.attention.output, *([block.cross_attention.output] if block.reads_memory else [])]
        assert all(not end.weight.any() for end in (*ends, block.mlp.contract))
        assert block.attention.query.weight.any()


@every_layout
def test_hidden_widths_follow_the_width_multiplier(layout):
    net = built(layout, scaling={"kind": "multiplier", "factor": 2.0})
    assert net.output.in_features == 16
    assert net(*inputs(layout)).shape[-1] == 10
