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
def denoised(predict: Predict, noise: Tensor, shares: Tensor, *, limit: float) -> Tensor:
    """What the model makes of `noise` (S, N, ...) in S steps; a function of its arguments alone.

    The ancestral sampler, over evenly spaced diffusion steps from the last to the first: `predict` is given t from
    T − 1 to 0, `shares` (T,) are ᾱ_1 ... ᾱ_T, T at least S. `noise[0]` is where it starts, the others are added on the
    way. At each step the data that the model believes in is kept within ±`limit`, as it is for data of that range.

    Source: Song, Meng and Ermon 2020, arXiv 2010.02502, eq. 12 and 16 with η = 1, which for S = T is Ho et al. 2020,
    arXiv 2006.11239, algorithm 2.
    """
    chosen = [round(place) for place in torch.linspace(len(shares) - 1, 0, len(noise)).tolist()]
    x = noise[0]
    for step, following, fresh in zip(chosen, chosen[1:], noise[1:], strict=False):
        share, after = shares[step], shares[following]
        deviation = ((1 - after) / (1 - share) * (1 - share / after)).sqrt()
        believed = _believed(predict, x, step, share, limit)
        held = (x - share.sqrt() * believed) / (1 - share).sqrt()
        x = after.sqrt() * believed + (1 - after - deviation.square()).clamp_min(0).sqrt() * held + deviation * fresh
    return _believed(predict, x, chosen[-1], shares[chosen[-1]], limit)


def _believed(predict: Predict, x: Tensor, step: int, share: Tensor, limit: float) -> Tensor:
    """The data x_0 that x_t would come from, were the predicted noise the true one."""
    t = torch.full((len(x),), step, device=x.device)
    return ((x - (1 - share).sqrt() * predict(x, t)) / share.sqrt()).clamp(-limit, limit)


@BETAS.implements(LinearNoise)
def _linear(settings: LinearNoise) -> Tensor:
    scale = 1000 / settings.timesteps  # the same noise at the end, in however many steps
    return torch.linspace(1e-4 * scale, 0.02 * scale, settings.timesteps, dtype=torch.float64).clamp_max(MAX_BETA)


@BETAS.implements(CosineNoise)
def _cosine(settings: CosineNoise) -> Tensor:
    place = torch.arange(settings.timesteps + 1, dtype=torch.float64) / settings.timesteps
    left = torch.cos((place + COSINE_OFFSET) / (1 + COSINE_OFFSET) * math.pi / 2).square()
    return (1 - left[1:] / left[:-1]).clamp_max(MAX_BETA)
