"""Noise on inputs and gradients (brief section 13)."""

from collections.abc import Iterable

import torch
from torch import Tensor

from gyrostat.spec.noise import GradientNoise, InputNoise, MultiplicativeNoise
from trainer.stabilizers.registry import Registry

INPUT_NOISES: Registry[Tensor] = Registry("noise on inputs")
"""Each is called with (settings, inputs, generator) and answers new inputs of the same shape."""

GRADIENT_NOISES: Registry[None] = Registry("noise on gradients")
"""Each is called with (settings, parameters, step, generator) and adds to their gradients."""


def standard_normal(like: Tensor, source: torch.Generator) -> Tensor:
    """N(0, 1) in the shape, type and place of `like`, the same on every device: drawn on the CPU from `source`."""
    return torch.randn(like.shape, generator=source, dtype=like.dtype).to(like.device)


@INPUT_NOISES.implements(InputNoise)
def input_noise(settings: InputNoise, inputs: Tensor, source: torch.Generator) -> Tensor:
    """Gives x + σε. Source: Bishop 1995, Neural Computation 7(1)."""
    return inputs + settings.sigma * standard_normal(inputs, source)


@INPUT_NOISES.implements(MultiplicativeNoise)
def multiplicative_noise(settings: MultiplicativeNoise, inputs: Tensor, source: torch.Generator) -> Tensor:
    """Gives x·(1 + σε). Source: Srivastava et al. 2014, JMLR 15, section 10."""
    return inputs * (1 + settings.sigma * standard_normal(inputs, source))


def add_to_gradients(settings: GradientNoise, parameters: Iterable[Tensor], step: int, source: torch.Generator) -> None:
    """Adds the noise of step `step` (0 is the first) to the gradients, in place; call it after clipping."""
    GRADIENT_NOISES.of(settings)(settings, parameters, step, source)


@GRADIENT_NOISES.implements(GradientNoise)
@torch.no_grad()
def gradient_noise(settings: GradientNoise, parameters: Iterable[Tensor], step: int, source: torch.Generator) -> None:
    """Adds N(0, η/(1 + t)^γ) to every element of the gradients, in place; t = `step`, of steps done, is 0 at the first.

    With the same `source` it is the same on every rank and device. Parameters without a gradient are passed over.

    Source: Neelakantan et al. 2015, arXiv 1511.06807, eq. 1.
    """
    deviation = (settings.eta / (1 + step) ** settings.gamma) ** 0.5
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.add_(standard_normal(parameter.grad, source), alpha=deviation)
