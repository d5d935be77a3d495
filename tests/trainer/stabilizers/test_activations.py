import math

import pytest
import scipy.integrate
import scipy.stats
import torch

from gyrostat.spec.activations import Gelu, Relu, Sigmoid, Tanh
from trainer.stabilizers import activations

FORMULAS = {
    Relu: lambda x: max(0.0, x),
    Gelu: lambda x: x * scipy.stats.norm.cdf(x),
    Tanh: lambda x: (math.exp(x) - math.exp(-x)) / (math.exp(x) + math.exp(-x)),
    Sigmoid: lambda x: 1 / (1 + math.exp(-x)),
}


@pytest.mark.parametrize("settings", FORMULAS)
def test_values_are_those_of_the_formula(settings):
    xs = [-5.0, -1.0, -1e-3, 0.0, 1e-3, 0.5, 3.0]
    values = activations.build(settings())(torch.tensor(xs, dtype=torch.float64))
    torch.testing.assert_close(values, torch.tensor([FORMULAS[settings](x) for x in xs], dtype=torch.float64))


@pytest.mark.parametrize("settings", FORMULAS)
def test_the_input_is_left_as_it_is(settings):
    x = torch.tensor([-1.0, 1.0])
    activations.build(settings())(x)
    assert x.tolist() == [-1.0, 1.0]


@pytest.mark.parametrize("settings", [Relu, Gelu])
def test_the_gain_restores_the_scale_of_a_normal_signal(settings):
    power, _ = scipy.integrate.quad(
        lambda z: FORMULAS[settings](z) ** 2 * scipy.stats.norm.pdf(z), -12, 12, points=[0.0]
    )
    assert activations.gain(settings()) == pytest.approx(1 / math.sqrt(power), rel=1e-6)


def test_other_gains_are_torch_s():
    assert activations.gain(Tanh()) == pytest.approx(5 / 3)
    assert activations.gain(Sigmoid()) == 1
