"""Noise on inputs (brief section 13)."""

import torch
from torch import Tensor

from gyrostat.spec.noise import InputNoise, MultiplicativeNoise
from trainer.stabilizers.registry import Registry

INPUT_NOISES: Registry[Tensor] = Registry("noise on inputs")
"""Each is called with (settings, inputs, generator) and answers new inputs of the same shape."""


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
