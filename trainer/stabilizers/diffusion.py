"""Diffusion noise (brief section 13): its schedules, what it makes of data, and the way back from noise to data."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gyrostat.spec.diffusion import CosineNoise, LinearNoise, NoiseSchedule
from trainer.stabilizers.registry import Registry

MAX_BETA = 0.999
"""A larger share of noise in one step leaves nothing that a later step could start from."""
COSINE_OFFSET = 0.008

BETAS: Registry[Tensor] = Registry("noise schedule")
"""Each gives β_1 ... β_T, float64 of shape (T,)."""

Predict = Callable[[Tensor, Tensor], Tensor]
"""(x_t, t) to the noise that x_t holds, of x_t's shape."""


def kept(settings: NoiseSchedule) -> Tensor:
    """ᾱ_1 ... ᾱ_T, float64 of shape (T,): the share of the data's variance that is left after each diffusion step.

    Source: Ho et al. 2020, arXiv 2006.11239, section 2.
    """
    return torch.cumprod(1 - BETAS.of(settings)(settings), 0)


def noised(data: Tensor, noise: Tensor, share: Tensor) -> Tensor:
    """√ᾱ·x_0 + √(1 − ᾱ)·ε: data and noise (N, ...), `share` (N,) the ᾱ of each sample.

    Source: Ho et al. 2020, arXiv 2006.11239, eq. 4.
    """
    share = share.reshape(-1, *(1,) * (data.ndim - 1))
    return share.sqrt() * data + (1 - share).sqrt() * noise


@torch.no_grad()
def denoised(predict: Predict, noise: Tensor, shares: Tensor, *, steps: int, limit: float) -> Tensor:
    """What the model makes of `noise` (N, ...) in at most `steps` steps; a function of its arguments alone.

    The deterministic sampler (η = 0), over evenly spaced diffusion steps from the last to the first: `predict` is given
    t from T − 1 to 0, `shares` (T,) are ᾱ_1 ... ᾱ_T. At each, the data that the model believes in is kept within
    ±`limit`, as it is for data of that range.

    Source: Song, Meng and Ermon 2020, arXiv 2010.02502, eq. 12.
    """
    count = min(steps, len(shares))
    chosen = [round(place) for place in torch.linspace(len(shares) - 1, 0, count).tolist()]
    x = noise
    for step, following in zip(chosen, [*chosen[1:], None], strict=True):
        share = shares[step]
        t = torch.full((len(x),), step, device=x.device)
        believed = ((x - (1 - share).sqrt() * predict(x, t)) / share.sqrt()).clamp(-limit, limit)
        held = (x - share.sqrt() * believed) / (1 - share).sqrt()
        x = (
            believed
            if following is None
            else shares[following].sqrt() * believed + (1 - shares[following]).sqrt() * held
        )
    return x


@BETAS.implements(LinearNoise)
def _linear(settings: LinearNoise) -> Tensor:
    scale = 1000 / settings.timesteps  # the same noise at the end, in however many steps
    return torch.linspace(1e-4 * scale, 0.02 * scale, settings.timesteps, dtype=torch.float64).clamp_max(MAX_BETA)


@BETAS.implements(CosineNoise)
def _cosine(settings: CosineNoise) -> Tensor:
    place = torch.arange(settings.timesteps + 1, dtype=torch.float64) / settings.timesteps
    left = torch.cos((place + COSINE_OFFSET) / (1 + COSINE_OFFSET) * math.pi / 2).square()
    return (1 - left[1:] / left[:-1]).clamp_max(MAX_BETA)
