"""Activation functions, and the gains that keep the scale of a signal through them (brief section 3)."""

import math

from torch import nn

from gyrostat.spec.activations import Activation, Elu, Gelu, LeakyRelu, PRelu, Relu, Selu, Sigmoid, Silu, Tanh
from trainer.stabilizers.registry import Registry

ACTIVATIONS: Registry[nn.Module] = Registry("activation")
GAINS: Registry[float] = Registry("gain of activation")

GELU_GAIN = 1 / math.sqrt(1 / 3 + 1 / (2 * math.pi * math.sqrt(3)))
"""1/√E[(zΦ(z))²] for z ~ N(0, 1), as √2 is for ReLU; E[z²Φ²] = 1/3 + 1/(2π√3) by Stein's lemma, applied twice."""

SILU_GAIN = 1.676532470331
"""1/√E[(z·σ(z))²] for z ~ N(0, 1); there is no closed form, so it is integrated numerically."""


def build(settings: Activation) -> nn.Module:
    """The activation as a module of its own, never in place, so that hooks see input and output."""
    return ACTIVATIONS.of(settings)(settings)


def gain(settings: Activation) -> float:
    """The factor on a weight law that keeps the scale of the signal through the activation.

    torch's own where it has one (ReLU √2, leaky ReLU √(2/(1 + a²)), tanh 5/3, SELU 3/4, sigmoid 1); 1/√E[φ(z)²] of a
    standard normal z for ELU, GELU and SiLU.
    """
    return GAINS.of(settings)(settings)


def elu_gain(alpha: float) -> float:
    """1/√E[elu(z)²] for z ~ N(0, 1): E = 1/2 + α²·(e²·Φ(−2) − 2·√e·Φ(−1) + 1/2), by completing the square."""
    below = math.e**2 * _normal_cdf(-2) - 2 * math.sqrt(math.e) * _normal_cdf(-1) + 0.5
    return 1 / math.sqrt(0.5 + alpha**2 * below)


def _normal_cdf(z: float) -> float:
    return math.erfc(-z / math.sqrt(2)) / 2


ACTIVATIONS.implements(Relu)(lambda _: nn.ReLU())
ACTIVATIONS.implements(LeakyRelu)(lambda settings: nn.LeakyReLU(settings.slope))
ACTIVATIONS.implements(PRelu)(lambda settings: nn.PReLU(init=settings.slope))
ACTIVATIONS.implements(Elu)(lambda settings: nn.ELU(settings.alpha))
ACTIVATIONS.implements(Selu)(lambda _: nn.SELU())
ACTIVATIONS.implements(Gelu)(lambda _: nn.GELU())
ACTIVATIONS.implements(Silu)(lambda _: nn.SiLU())
ACTIVATIONS.implements(Tanh)(lambda _: nn.Tanh())
ACTIVATIONS.implements(Sigmoid)(lambda _: nn.Sigmoid())

GAINS.implements(Relu)(lambda _: math.sqrt(2))
GAINS.implements(LeakyRelu)(lambda settings: nn.init.calculate_gain("leaky_relu", settings.slope))
GAINS.implements(PRelu)(lambda settings: nn.init.calculate_gain("leaky_relu", settings.slope))
GAINS.implements(Elu)(lambda settings: elu_gain(settings.alpha))
GAINS.implements(Selu)(lambda _: nn.init.calculate_gain("selu"))
GAINS.implements(Gelu)(lambda _: GELU_GAIN)
GAINS.implements(Silu)(lambda _: SILU_GAIN)
GAINS.implements(Tanh)(lambda _: nn.init.calculate_gain("tanh"))
GAINS.implements(Sigmoid)(lambda _: nn.init.calculate_gain("sigmoid"))
