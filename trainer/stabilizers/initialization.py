"""Weight initialization (brief section 3)."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from gyrostat.spec.activations import Activation
from gyrostat.spec.initialization import HeNormal, HeUniform, Initialization, XavierNormal, XavierUniform
from trainer.stabilizers import activations
from trainer.stabilizers.registry import Registry

LAWS: Registry[Tensor] = Registry("init")


@torch.no_grad()
def initialize(model: nn.Module, settings: Initialization | None, activation: Activation) -> None:
    """Draws the weights of all linear, convolution and embedding layers by the law, and sets their biases to 0.

    The output layer is included; normalization layers keep gain 1 and shift 0. Draws from torch's global generator, in
    the order of the model's modules. None leaves everything as torch made it.
    """
    if settings is None:
        return
    gain = settings.gain if settings.gain is not None else activations.gain(activation)
    law = LAWS.of(settings)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Embedding):
            law(module.weight, settings, gain)
            bias = getattr(module, "bias", None)
            if bias is not None:
                nn.init.zeros_(bias)


def fan(weight: Tensor, mode: Literal["fan_in", "fan_out"]) -> int:
    """Connections into (or out of) one unit of a weight (out, in, *kernel)."""
    units = weight.shape[1] if mode == "fan_in" else weight.shape[0]
    return units * math.prod(weight.shape[2:])


@LAWS.implements(XavierUniform)
def _xavier_uniform(weight: Tensor, settings: XavierUniform, gain: float) -> Tensor:
    return nn.init.xavier_uniform_(weight, gain)


@LAWS.implements(XavierNormal)
def _xavier_normal(weight: Tensor, settings: XavierNormal, gain: float) -> Tensor:
    return nn.init.xavier_normal_(weight, gain)


@LAWS.implements(HeUniform)
def _he_uniform(weight: Tensor, settings: HeUniform, gain: float) -> Tensor:
    bound = gain * math.sqrt(3 / fan(weight, settings.mode))
    return nn.init.uniform_(weight, -bound, bound)


@LAWS.implements(HeNormal)
def _he_normal(weight: Tensor, settings: HeNormal, gain: float) -> Tensor:
    return nn.init.normal_(weight, 0.0, gain / math.sqrt(fan(weight, settings.mode)))
