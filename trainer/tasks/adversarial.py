"""What a critic and a generator are asked to do, and what is measured of both."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Objective = Literal["wasserstein", "non_saturating"]


def critic_loss(objective: Objective, real: Tensor, fake: Tensor) -> Tensor:
    """Mean loss of the critic's scores (N,) of data and of samples; a high score says "data".

    wasserstein: E[D(fake)] − E[D(real)] (Arjovsky et al. 2017, arXiv 1701.07875, eq. 2 and algorithm 1).
    non_saturating: −E[log s(D(real))] − E[log(1 − s(D(fake)))], s the logistic function (Goodfellow et al. 2014,
    arXiv 1406.2661, eq. 1).
    """
    if objective == "wasserstein":
        return fake.mean() - real.mean()
    return functional.softplus(-real).mean() + functional.softplus(fake).mean()


def generator_loss(objective: Objective, fake: Tensor) -> Tensor:
    """Mean loss of the generator, from the critic's scores (N,) of its samples.

    wasserstein: −E[D(fake)]. non_saturating: −E[log s(D(fake))] (Goodfellow et al. 2014, arXiv 1406.2661, section 3).
    """
    return -fake.mean() if objective == "wasserstein" else functional.softplus(-fake).mean()


def energy_distance(first: Tensor, second: Tensor) -> Tensor:
    """√(2·E‖x − y‖ − E‖x − x′‖ − E‖y − y′‖) of samples (N, ...) and (M, ...), pairs of one with itself included.

    Zero for two equal sets and for none other; for samples of one distribution it falls as 1/√N. No critic has a part
    in it, so it tells how near a generator is when its losses do not.

    Source: Szekely and Rizzo 2013, Energy statistics, Journal of Statistical Planning and Inference 143.
    """
    x, y = (part.flatten(1).to(torch.promote_types(part.dtype, torch.float32)) for part in (first, second))
    squared = 2 * torch.cdist(x, y).mean() - torch.cdist(x, x).mean() - torch.cdist(y, y).mean()
    return squared.clamp_min(0).sqrt()


def modes_hit(samples: Tensor, centres: Tensor, spreads: Tensor) -> Tensor:
    """How many of the `centres` (K, D) have one of the `samples` (N, D) within three of their `spreads` (K,).

    Source: Srivastava et al. 2017, arXiv 1705.07761, section 4.1, there with one spread for all.
    """
    near = torch.cdist(samples, centres) <= 3 * spreads
    return near.any(0).sum()
