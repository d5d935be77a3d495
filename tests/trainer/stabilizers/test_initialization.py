import math

import pytest
import torch
from torch import nn

from gyrostat.spec.activations import Gelu, Relu, Tanh
from gyrostat.spec.architectures import DenseNet, HighwayNet, Mlp, ResNet, Transformer, UNet
from gyrostat.spec.attention import MultiHead
from gyrostat.spec.connections import LayerScale, Residual
from gyrostat.spec.dropout import ElementDropout
from gyrostat.spec.initialization import (
    HeNormal,
    HeUniform,
    Lsuv,
    Orthogonal,
    XavierNormal,
    XavierUniform,
    ZeroLast,
)
from gyrostat.spec.normalization import BatchNorm, GroupNorm, LayerNorm, RmsNorm
from gyrostat.spec.regularization import Regularization
from trainer.models.build import build
from trainer.stabilizers import activations
from trainer.stabilizers.connections import Block
from trainer.stabilizers.initialization import branch_ends, initialize

# (layer, fan in, fan out); each has enough weights for 5 % to be many standard errors
LAYERS = [
    (lambda: nn.Linear(200, 300), 200, 300),
    (lambda: nn.Conv2d(24, 48, 3), 24 * 9, 48 * 9),
    (lambda: nn.Embedding(256, 96), 96, 256),
]
ACTIVATION = Relu()
GAIN = math.sqrt(2)


def spread(settings, fan_in: int, fan_out: int, gain: float) -> float:
    """The law's variance."""
    if isinstance(settings, XavierNormal | XavierUniform):
        return gain**2 * 2 / (fan_in + fan_out)
    return gain**2 / (fan_in if settings.mode == "fan_in" else fan_out)


@pytest.mark.parametrize(
    "settings",
    [XavierUniform(), XavierNormal(), HeUniform(), HeNormal(), HeUniform(mode="fan_out"), HeNormal(mode="fan_out")],
    ids=lambda settings: f"{settings.kind}-{getattr(settings, 'mode', '')}",
)
@pytest.mark.parametrize(("layer", "fan_in", "fan_out"), LAYERS, ids=["linear", "conv", "embedding"])
def test_the_variance_is_that_of_the_law(settings, layer, fan_in, fan_out):
    torch.manual_seed(0)
    module = layer()
    initialize(module, settings, ACTIVATION)
    weight = module.weight.double()
    assert weight.var(correction=0).item() == pytest.approx(spread(settings, fan_in, fan_out, GAIN), rel=0.05)
    assert abs(weight.mean().item()) < 5 * math.sqrt(spread(settings, fan_in, fan_out, GAIN) / weight.numel())
    if settings.kind.endswith("uniform"):
        assert weight.abs().max().item() <= math.sqrt(3 * spread(settings, fan_in, fan_out, GAIN)) * (1 + 1e-6)


@pytest.mark.parametrize("activation", [Relu(), Gelu(), Tanh()], ids=lambda activation: activation.kind)
def test_the_activation_s_gain_is_used_unless_one_is_set(activation):
    torch.manual_seed(0)
    module = nn.Linear(300, 300)
    initialize(module, HeNormal(), activation)
    assert module.weight.std().item() * math.sqrt(300) == pytest.approx(activations.gain(activation), rel=0.05)
    initialize(module, HeNormal(gain=0.5), activation)
    assert module.weight.std().item() * math.sqrt(300) == pytest.approx(0.5, rel=0.05)


def test_biases_become_zero_and_normalization_layers_are_untouched():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    for norm in model[1:4]:
        nn.init.constant_(norm.weight, 0.7)
        nn.init.constant_(norm.bias, 0.3)
    initialize(model, HeNormal(), Relu())
    assert model[0].bias.abs().max() == model[4].bias.abs().max() == 0
    assert all((norm.weight == 0.7).all() and (norm.bias == 0.3).all() for norm in model[1:4])


def test_none_leaves_torch_s_own_weights():
    model = nn.Linear(4, 2)
    before = [p.clone() for p in model.parameters()]
    initialize(model, None, Relu())
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_matching_initialization_keeps_the_scale_over_30_layers_and_a_small_one_loses_it():
    def rms(settings) -> float:
        torch.manual_seed(0)
        model = nn.Sequential(*(nn.Sequential(nn.Linear(256, 256), nn.ReLU()) for _ in range(30)))
        initialize(model, settings, Relu())
        return model(torch.randn(64, 256)).square().mean().sqrt().item()

    assert 0.1 < rms(HeNormal()) < 10
    assert rms(HeNormal(gain=1.0)) < 1e-3


@pytest.mark.parametrize(("layer", "fan_in", "fan_out"), LAYERS, ids=["linear", "conv", "embedding"])
def test_orthogonal_weights_have_the_gain_for_all_their_singular_values(layer, fan_in, fan_out):
    torch.manual_seed(0)
    module = layer()
    initialize(module, Orthogonal(), ACTIVATION)
    values = torch.linalg.svdvals(module.weight.detach().flatten(1))
    torch.testing.assert_close(values, torch.full_like(values, GAIN), atol=1e-4, rtol=1e-4)
    initialize(module, Orthogonal(gain=0.5), ACTIVATION)
    matrix = module.weight.detach().flatten(1)
    gram = matrix @ matrix.mT if len(matrix) <= matrix.shape[1] else matrix.mT @ matrix
    torch.testing.assert_close(gram, torch.eye(len(gram)) * 0.25, atol=1e-5, rtol=0)


IMAGES, TABLE = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.rand(16, 5)
TOKENS = torch.randint(0, 20, (6, 12), generator=torch.Generator().manual_seed(1))
PLAIN = Regularization()
NETS = {
    "mlp": (Mlp(depth=8, width=24, activation=Tanh()), (5,), (TABLE,)),
    "mlp-residual": (Mlp(depth=4, width=24, norm=LayerNorm(), connection=Residual()), (5,), (TABLE,)),
    "resnet": (ResNet(depth=3, width=8), (1, 8, 8), (IMAGES,)),
    "densenet": (DenseNet(depth=6), (1, 8, 8), (IMAGES,)),
    "highway_net": (HighwayNet(depth=4, width=8), (1, 8, 8), (IMAGES,)),
    "unet": (UNet(depth=3, width=8, connection=Residual()), (1, 8, 8), (IMAGES,)),
    "decoder": (Transformer(depth=2, width=16), (12,), (TOKENS,)),
    "encoder-decoder": (Transformer(layout="encoder_decoder", depth=1, width=16), (12, 12), (TOKENS, TOKENS)),
}


def built(name: str, regularization: Regularization = PLAIN):
    settings, shape, inputs = NETS[name]
    torch.manual_seed(0)
    return build(settings, regularization, shape, 20), settings, inputs


def output_variances(model, inputs) -> dict[str, float]:
    """Of every layer that a law draws, where it is called."""
    found: dict[str, float] = {}
    kinds = (nn.Linear, nn.Conv2d, nn.Embedding)
    handles = [
        module.register_forward_hook(lambda _, __, y, name=name: found.update({name: y.var(correction=0).item()}))
        for name, module in model.named_modules()
        if isinstance(module, kinds)
    ]
    model(*inputs)
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("name", NETS)
def test_after_lsuv_every_layer_s_output_has_variance_1_within_the_tolerance(name):
    model, settings, inputs = built(name)
    initialize(model, Orthogonal(), settings.activation)
    before = output_variances(model, inputs)
    assert any(abs(variance - 1) > 0.1 for variance in before.values())
    initialize(model, Lsuv(), settings.activation, inputs=inputs)
    after = output_variances(model, inputs)
    assert len(after) >= 4
    assert all(abs(variance - 1) <= 0.1 for variance in after.values()), after


def test_lsuv_changes_lengths_and_no_directions_of_the_orthogonal_weights():
    model, settings, inputs = built("mlp")
    initialize(model, Lsuv(), settings.activation, inputs=inputs)
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            values = torch.linalg.svdvals(layer.weight.detach())
            torch.testing.assert_close(values, values[:1].expand_as(values))


def test_lsuv_leaves_random_states_buffers_and_modes_as_they_were_and_takes_no_dropout_into_account():
    model, settings, inputs = built("resnet", Regularization(dropout=ElementDropout(rate=0.5)))
    plain, _, _ = built("resnet")
    model.stages[0].eval()
    modes = [module.training for module in model.modules()]
    buffers = [buffer.clone() for buffer in model.buffers()]
    assert buffers
    torch.manual_seed(7)
    initialize(model, Lsuv(), settings.activation, inputs=inputs)
    after = torch.get_rng_state()
    torch.manual_seed(7)
    initialize(model, Orthogonal(), settings.activation)
    assert torch.equal(torch.get_rng_state(), after)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(a, b) for a, b in zip(buffers, model.buffers(), strict=True))
    for net in (model.train(), plain):
        torch.manual_seed(7)
        initialize(net, Lsuv(), settings.activation, inputs=inputs)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))


class Twice(nn.Module):
    """The same layer on an input, and on a larger one."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.layer, self.factor, self.calls = nn.Linear(8, 8, bias=False), factor, 0

    def forward(self, x):
        self.calls += 1
        return self.layer(x), self.layer(self.factor * x)


def test_lsuv_goes_over_shared_weights_again_until_every_use_is_within_the_tolerance_or_passes_run_out():
    x = torch.randn(256, 8)
    close, apart = Twice(math.sqrt(1.6)), Twice(10.0)
    for model in (close, apart):
        initialize(model, Lsuv(tolerance=0.5, max_iterations=7), Relu(), inputs=(3 * x,))
    assert close.calls == 2
    assert all(abs(y.var(correction=0).item() - 1) < 0.5 for y in close(3 * x))
    assert apart.calls == 7


def test_lsuv_leaves_a_layer_whose_output_does_not_vary():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    initialize(model, Lsuv(), Relu(), inputs=(torch.zeros(8, 4),))
    assert all(p.isfinite().all() for p in model.parameters())


BRANCHED = {
    "mlp-pre": Mlp(depth=4, width=8, norm=LayerNorm(), connection=Residual(placement="pre")),
    "mlp-post": Mlp(depth=4, width=8, norm=BatchNorm(), connection=Residual(placement="post")),
    "mlp-rms": Mlp(depth=4, width=8, norm=RmsNorm(), connection=Residual(placement="post")),
    "mlp-scaled": Mlp(depth=4, width=8, connection=LayerScale()),
    "resnet-pre": ResNet(depth=3, width=8, stages=1, connection=Residual(placement="pre")),
    "resnet-post": ResNet(depth=3, width=8, stages=1),
    "unet": UNet(depth=3, width=8, norm=GroupNorm(groups=4), connection=Residual()),
    "transformer": Transformer(depth=2, width=16, attention=MultiHead(qk_norm="qk_norm")),
    "transformer-post": Transformer(depth=2, width=16, connection=Residual(placement="post")),
    "encoder-decoder": Transformer(layout="encoder_decoder", depth=1, width=16, cross="cross"),
}


def joins(model) -> list[nn.Module]:
    return [module for name, module in model.named_modules() if name.rpartition(".")[2].endswith("connection")]


@pytest.mark.parametrize("init", [None, HeNormal(), Lsuv()], ids=["torch", "he", "lsuv"])
@pytest.mark.parametrize("name", BRANCHED)
def test_every_branch_starts_at_zero_so_that_a_join_gives_what_was_skipped(name, init):
    settings = BRANCHED[name]
    sequences = (2 if name == "encoder-decoder" else 1) * isinstance(settings, Transformer)
    inputs = (TOKENS,) * sequences or (IMAGES,)
    torch.manual_seed(0)
    model = build(settings, PLAIN, (12,) * sequences or (1, 8, 8), 20)
    initialize(model, init, settings.activation, zero_last=ZeroLast(), inputs=inputs)
    seen = []
    for join in joins(model):
        join.register_forward_hook(
            lambda _, given, joined: seen.append((given[0].abs().max().item(), given[1], joined))
        )
    output = model(*inputs)
    assert len(seen) == len(joins(model)) == len(list(branch_ends(model))) > 0
    for branch, skipped, joined in seen:
        assert branch == 0
        assert torch.equal(joined, skipped)
    ends = [next(end.parameters(recurse=False)) for end in branch_ends(model)]
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    output.square().sum().backward()
    optimizer.step()  # what only reads through a branch that is still zero moves from the second step on
    model(*inputs).square().sum().backward()
    assert all(end.grad.abs().max() > 0 for end in ends)


def test_the_end_of_a_branch_is_its_last_weighted_layer_and_nothing_of_the_way_past():
    block = Block(
        {"conv": nn.Conv2d(2, 2, 1), "norm": nn.BatchNorm2d(2), "activation": nn.PReLU()},
        {"after": nn.Conv2d(2, 2, 1)},
        connection=Residual(),
        features=2,
        dims=2,
        shortcut=nn.Conv2d(2, 2, 1),
    )
    assert list(branch_ends(block)) == [block.norm]
    plain = Block({"conv": nn.Conv2d(2, 2, 1)}, {}, connection=None, features=2, dims=2)
    assert list(branch_ends(plain)) == []
