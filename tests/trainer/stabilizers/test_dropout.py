import math

import torch
from torch import nn

from gyrostat.spec.dropout import ElementDropout
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
