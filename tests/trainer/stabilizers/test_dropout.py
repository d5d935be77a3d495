import math

import pytest
import torch
from torch import nn

from gyrostat.spec.dropout import DropConnect, ElementDropout, GaussianDropout, SpatialDropout, StochasticDepth
from trainer.stabilizers import dropout

RATE, COUNT = 0.3, 100_000


def test_none_is_the_identity():
    assert isinstance(dropout.build(None, dims=1), nn.Identity)


def test_the_kept_fraction_and_the_mean_are_right_within_statistical_error():
    torch.manual_seed(0)
    y = dropout.build(ElementDropout(rate=RATE), dims=1)(torch.ones(COUNT))
    deviation = math.sqrt(RATE * (1 - RATE) / COUNT)
    assert abs((y != 0).double().mean().item() - (1 - RATE)) < 4 * deviation
    assert abs(y.double().mean().item() - 1) < 4 * deviation / (1 - RATE)
    torch.testing.assert_close(y[y != 0], torch.full_like(y[y != 0], 1 / (1 - RATE)))


def test_in_eval_it_is_the_identity():
    x = torch.randn(10, 7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(dropout.build(ElementDropout(rate=RATE), dims=1).eval()(x), x)


def test_rate_zero_drops_nothing():
    assert torch.equal(dropout.build(ElementDropout(rate=0.0), dims=2)(torch.ones(2, 3, 4, 4)), torch.ones(2, 3, 4, 4))


def within(fraction: float, expected: float, count: int) -> bool:
    return abs(fraction - expected) < 4 * math.sqrt(expected * (1 - expected) / count)


def test_spatial_dropout_drops_whole_channels_of_images_and_whole_features_of_sequences():
    torch.manual_seed(0)
    drop = dropout.build(SpatialDropout(rate=RATE), dims=2)
    images = drop(torch.ones(100, 200, 3, 3)).flatten(2)
    assert torch.equal(images.amin(2), images.amax(2)), "a channel is dropped whole or not at all"
    assert within((images[..., 0] != 0).double().mean().item(), 1 - RATE, 20_000)
    torch.testing.assert_close(images.amax(), torch.tensor(1 / (1 - RATE)))
    sequences = dropout.build(SpatialDropout(rate=RATE), dims=1)(torch.ones(100, 5, 200))
    assert torch.equal(sequences.amin(1), sequences.amax(1))
    assert within((sequences[:, 0] != 0).double().mean().item(), 1 - RATE, 20_000)


def test_gaussian_dropout_has_mean_one_and_the_variance_of_its_formula():
    torch.manual_seed(0)
    y = dropout.build(GaussianDropout(rate=RATE), dims=1)(torch.ones(COUNT)).double()
    variance = RATE / (1 - RATE)
    assert abs(y.mean().item() - 1) < 4 * math.sqrt(variance / COUNT)
    assert abs(y.var().item() / variance - 1) < 4 * math.sqrt(2 / COUNT)


@pytest.mark.parametrize("settings", [SpatialDropout(rate=RATE), GaussianDropout(rate=RATE)])
def test_its_relatives_are_the_identity_in_eval(settings):
    x = torch.randn(10, 7, 3, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(dropout.build(settings, dims=2).eval()(x), x)


@pytest.mark.parametrize(("layer", "shape"), [(nn.Linear(300, 200), (1, 300)), (nn.Conv2d(30, 40, 3), (1, 30, 3, 3))])
def test_dropconnect_drops_weights_while_it_computes_and_changes_none(layer, shape):
    torch.manual_seed(0)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    model = nn.Sequential(layer)
    x = torch.randn(shape)
    plain = model(x)
    dropout.drop_weights(model, DropConnect(rate=RATE))
    # the derivative by the weight is the input where the weight was kept, scaled up, and zero where it was dropped
    model(x).sum().backward()
    expected = x.flatten() / (1 - RATE)
    gradient = layer.weight.grad.flatten(1)
    kept = gradient != 0
    assert within(kept.double().mean().item(), 1 - RATE, kept.numel())
    torch.testing.assert_close(gradient[kept], expected.expand_as(gradient)[kept])
    assert not torch.equal(model(x), model(x)), "the mask is drawn anew"
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
    assert torch.equal(model.eval()(x), plain)


def test_survival_falls_linearly_to_that_of_the_last_block():
    settings = StochasticDepth(survival=0.5)
    rates = [dropout.survival(settings, block, 4) for block in range(4)]
    assert rates == [0.875, 0.75, 0.625, 0.5]
    assert dropout.survival(None, 0, 4) == 1.0
