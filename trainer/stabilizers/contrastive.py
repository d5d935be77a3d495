"""Losses that compare embeddings with one another (brief sections 11 and 14): means over anchors.

Each takes embeddings (M, D) and the group of each row (M,): rows of one group are each other's positives, all others
are negatives. Every row is an anchor. An anchor without positives (or, for pairs and triplets, negatives) adds none.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from gyrostat.spec.contrastive import InfoNce, PairContrastive, Triplet
from trainer.stabilizers.registry import Registry

EMBEDDING_LOSSES: Registry[Callable[[Tensor, Tensor], Tensor]] = Registry("loss of embeddings")

TINY = 1e-12
"""Squared distances below it count as it, where the root of 0 has no derivative."""


def infonce(embeddings: Tensor, groups: Tensor, temperature: float) -> Tensor:
    """−log softmax over all other rows of cosine similarity over `temperature`, at each anchor's positives.

    Source: Chen et al. 2020, arXiv 2002.05709, eq. 1; several positives: Khosla et al. 2020, arXiv 2004.11362, eq. 2.
    """
    own = _own(groups)
    similarity = _cosines(embeddings) / temperature
    log_shares = similarity - similarity.masked_fill(own, -torch.inf).logsumexp(1, keepdim=True)
    return -_mean_over(log_shares, _positives(groups)).mean()


def pair_contrastive(embeddings: Tensor, groups: Tensor, margin: float) -> Tensor:
    """½d² of positives and ½·max(0, margin − d)² of negatives, d the distance on the unit sphere.

    Source: Hadsell, Chopra and LeCun 2006, eq. 4.
    """
    squared = _squared_distances(embeddings)
    apart = (margin - squared.clamp_min(TINY).sqrt()).clamp_min(0).square()
    near, far = _mean_over(squared, _positives(groups)), _mean_over(apart, _negatives(groups))
    return (near + far).mean() / 2


def triplet(embeddings: Tensor, groups: Tensor, margin: float) -> Tensor:
    """max(0, d²(i, p) − d²(i, n) + margin), n the nearest negative beyond p, or the farthest where none is beyond.

    Source: Schroff, Kalenichenko and Philbin 2015, arXiv 1503.03832, sections 3.1 and 3.2.
    """
    squared = _squared_distances(embeddings)
    positives, negatives = _positives(groups), _negatives(groups)
    ascending = squared.masked_fill(~negatives, torch.inf).sort(1).values
    place = torch.searchsorted(ascending.detach(), squared.detach().contiguous(), right=True)
    nearest = ascending.gather(1, place.clamp_max(len(groups) - 1))
    farthest = squared.masked_fill(~negatives, 0.0).amax(1, keepdim=True)
    chosen = torch.where(nearest.isinf(), farthest, nearest)
    hinge = (squared - chosen + margin).clamp_min(0)
    return _mean_over(hinge, positives & negatives.any(1, keepdim=True)).mean()


def _own(groups: Tensor) -> Tensor:
    return torch.eye(len(groups), dtype=torch.bool, device=groups.device)


def _positives(groups: Tensor) -> Tensor:
    return (groups.unsqueeze(0) == groups.unsqueeze(1)) & ~_own(groups)


def _negatives(groups: Tensor) -> Tensor:
    return groups.unsqueeze(0) != groups.unsqueeze(1)


def _cosines(embeddings: Tensor) -> Tensor:
    # half precision would round differences of similarities away
    full = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
    directions = functional.normalize(full, dim=1)
    with torch.autocast(embeddings.device.type, enabled=False):
        return directions @ directions.T


def _squared_distances(embeddings: Tensor) -> Tensor:
    return (2 - 2 * _cosines(embeddings)).clamp_min(0)


def _mean_over(values: Tensor, chosen: Tensor) -> Tensor:
    """(M,): each row's mean over its chosen columns, 0 where it has none."""
    return torch.where(chosen, values, 0.0).sum(1) / chosen.sum(1).clamp_min(1)


@EMBEDDING_LOSSES.implements(InfoNce)
def _infonce(settings: InfoNce) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda embeddings, groups: infonce(embeddings, groups, settings.temperature)


@EMBEDDING_LOSSES.implements(PairContrastive)
def _pair_contrastive(settings: PairContrastive) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda embeddings, groups: pair_contrastive(embeddings, groups, settings.margin)


@EMBEDDING_LOSSES.implements(Triplet)
def _triplet(settings: Triplet) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda embeddings, groups: triplet(embeddings, groups, settings.margin)
