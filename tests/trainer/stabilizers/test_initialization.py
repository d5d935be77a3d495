import math

import pytest
import torch
from torch import nn

from gyrostat.spec.activations import Gelu, Relu, Tanh
from gyrostat.spec.initialization import HeNormal, HeUniform, XavierNormal, XavierUniform
from trainer.stabilizers import activations
from trainer.stabilizers.initialization import initialize

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
