"""Activation functions, and the gains that keep the scale of a signal through them (brief section 3)."""

import math

from torch import nn

from gyrostat.spec.activations import Activation, Gelu, Relu, Sigmoid, Tanh
from trainer.stabilizers.registry import Registry

ACTIVATIONS: Registry[nn.Module] = Registry("activation")

GELU_GAIN = 1 / math.sqrt(1 / 3 + 1 / (2 * math.pi * math.sqrt(3)))
"""1/√E[(zΦ(z))²] for z ~ N(0, 1), as √2 is for ReLU; E[z²Φ²] = 1/3 + 1/(2π√3) by Stein's lemma, applied twice."""


def build(settings: Activation) -> nn.Module:
    """The activation as a module of its own, never in place, so that hooks see input and output."""
    return ACTIVATIONS.of(settings)()


def gain(settings: Activation) -> float:
    """The factor on a weight law that keeps the scale of the signal through the activation.

    torch's own where it has one (ReLU √2, tanh 5/3, sigmoid 1); `GELU_GAIN` for GELU.
    """
    return GELU_GAIN if isinstance(settings, Gelu) else nn.init.calculate_gain(settings.kind)


ACTIVATIONS.implements(Relu)(nn.ReLU)
ACTIVATIONS.implements(Gelu)(nn.GELU)
ACTIVATIONS.implements(Tanh)(nn.Tanh)
ACTIVATIONS.implements(Sigmoid)(nn.Sigmoid)
