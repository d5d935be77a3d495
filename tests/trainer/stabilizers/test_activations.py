import math

import pytest
import scipy.integrate
import scipy.stats
import torch

from gyrostat.spec.activations import Elu, Gelu, LeakyRelu, PRelu, Relu, Selu, Sigmoid, Silu, Tanh
from trainer.stabilizers import activations
from trainer.stabilizers.optimizers import decayed

FORMULAS = {
    Relu: lambda x: max(0.0, x),
    LeakyRelu: lambda x: x if x > 0 else 0.01 * x,
    PRelu: lambda x: x if x > 0 else 0.25 * x,
    Elu: lambda x: x if x > 0 else math.expm1(x),
    Selu: lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * math.expm1(x)),
    Silu: lambda x: x / (1 + math.exp(-x)),
    Gelu: lambda x: x * scipy.stats.norm.cdf(x),
    Tanh: lambda x: (math.exp(x) - math.exp(-x)) / (math.exp(x) + math.exp(-x)),
    Sigmoid: lambda x: 1 / (1 + math.exp(-x)),
}


@pytest.mark.parametrize("settings", FORMULAS)
def test_values_are_those_of_the_formula(settings):
    xs = [-5.0, -1.0, -1e-3, 0.0, 1e-3, 0.5, 3.0]
    values = activations.build(settings()).double()(torch.tensor(xs, dtype=torch.float64))
    torch.testing.assert_close(values, torch.tensor([FORMULAS[settings](x) for x in xs], dtype=torch.float64))


@pytest.mark.parametrize("settings", FORMULAS)
def test_the_input_is_left_as_it_is(settings):
    x = torch.tensor([-1.0, 1.0])
    activations.build(settings())(x)
    assert x.tolist() == [-1.0, 1.0]


def power(settings) -> float:
    """E[act(z)²] for z ~ N(0, 1), integrated numerically."""
    act = activations.build(settings).double()

    def integrand(z):
        return act(torch.tensor(z, dtype=torch.float64)).item() ** 2 * scipy.stats.norm.pdf(z)

    return sum(scipy.integrate.quad(integrand, *ends, epsrel=1e-11)[0] for ends in ((-12, 0), (0, 12)))


@pytest.mark.parametrize(
    "settings",
    [Relu(), LeakyRelu(slope=0.3), PRelu(), Elu(), Elu(alpha=2.5), Gelu(), Silu()],
    ids=lambda settings: settings.kind,
)
def test_the_gain_restores_the_scale_of_a_normal_signal(settings):
    assert activations.gain(settings) == pytest.approx(1 / math.sqrt(power(settings)), rel=1e-6)


def test_other_gains_are_torch_s():
    assert activations.gain(Tanh()) == pytest.approx(5 / 3)
    assert activations.gain(Sigmoid()) == 1
    assert activations.gain(Selu()) == 0.75


def test_settings_reach_the_activation():
    x = torch.tensor([-1.0, 1.0])
    assert activations.build(LeakyRelu(slope=0.5))(x).tolist() == [-0.5, 1]
    assert activations.build(PRelu(slope=0.5))(x).tolist() == [-0.5, 1]
    assert activations.build(Elu(alpha=2.0))(x)[0].item() == pytest.approx(2 * math.expm1(-1))


def test_a_selu_keeps_mean_0_and_variance_1_of_a_normal_signal():
    # the fixed point of Klambauer et al. 2017, section 2
    def moment(k):
        return scipy.integrate.quad(lambda z: FORMULAS[Selu](z) ** k * scipy.stats.norm.pdf(z), -12, 12, points=[0])[0]

    assert moment(1) == pytest.approx(0, abs=1e-6)
    assert moment(2) == pytest.approx(1, abs=1e-6)


def test_the_slope_of_a_prelu_is_learnt_and_not_decayed():
    act = activations.build(PRelu())
    act(torch.tensor([-2.0, 1.0])).sum().backward()
    (slope,) = act.parameters()
    assert slope.grad.item() == -2
    assert not decayed(slope)


@pytest.mark.parametrize("settings", FORMULAS)
def test_activations_run_under_autocast_and_differentiate_twice(settings):
    act = activations.build(settings())
    x = torch.tensor([-2.0, -0.5, 0.5, 2.0], requires_grad=True)
    (first,) = torch.autograd.grad(act(x).square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert second.isfinite().all()
    with torch.autocast("cpu", torch.bfloat16):
        assert act(x.bfloat16()).isfinite().all()
