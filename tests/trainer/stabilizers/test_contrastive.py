import math

import numpy as np
import pytest
import torch

from gyrostat.spec.contrastive import InfoNce, PairContrastive, Triplet
from trainer.stabilizers import losses

EVERY = [InfoNce(temperature=0.3), PairContrastive(margin=1.2), Triplet(margin=0.4)]
every_loss = pytest.mark.parametrize("settings", EVERY, ids=lambda settings: settings.kind)
VIEWS = torch.arange(5).repeat(2)
CLASSES = torch.tensor([0, 1, 0, 2, 1]).repeat(2)
each_grouping = pytest.mark.parametrize("groups", [VIEWS, CLASSES], ids=["views", "classes"])


def embeddings(seed=0, rows=10, dtype=torch.float64):
    return torch.randn(rows, 4, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def built(settings):
    return losses.build(settings, "contrastive")


def slowly(settings, z, groups):
    """The published formulas, anchor by anchor."""
    z = z.numpy() / np.linalg.norm(z.numpy(), axis=1, keepdims=True)
    rows, total = range(len(z)), 0.0
    for i in rows:
        positives = [p for p in rows if p != i and groups[p] == groups[i]]
        negatives = [n for n in rows if groups[n] != groups[i]]
        squared = ((z[i] - z) ** 2).sum(1)
        if isinstance(settings, InfoNce):
            shares = {a: math.exp(z[i] @ z[a] / settings.temperature) for a in rows if a != i}
            total += np.mean([-math.log(shares[p] / sum(shares.values())) for p in positives])
        elif isinstance(settings, PairContrastive):
            total += np.mean([squared[p] / 2 for p in positives])
            total += np.mean([max(0, settings.margin - math.sqrt(squared[n])) ** 2 / 2 for n in negatives])
        else:
            terms = []
            for p in positives:
                beyond = [squared[n] for n in negatives if squared[n] > squared[p]]
                chosen = min(beyond) if beyond else max(squared[n] for n in negatives)
                terms.append(max(0, squared[p] - chosen + settings.margin))
            total += np.mean(terms)
    return total / len(z)


@every_loss
@each_grouping
@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_published_formula(settings, groups, seed):
    z = embeddings(seed)
    assert built(settings)(z, groups).item() == pytest.approx(slowly(settings, z, groups.tolist()), rel=1e-9)


@every_loss
@each_grouping
def test_the_order_of_samples_and_the_names_of_groups_and_the_lengths_of_embeddings_do_not_matter(settings, groups):
    z, loss = embeddings(), built(settings)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(3))
    stretched = z[order] * torch.linspace(0.5, 3, 10, dtype=z.dtype).unsqueeze(1)
    assert loss(stretched, 7 - groups[order]).item() == pytest.approx(loss(z, groups).item(), rel=1e-9)


@every_loss
@each_grouping
def test_gradients_agree_with_finite_differences_once_and_twice(settings, groups):
    z = embeddings().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: built(settings)(z, groups), z)
    assert torch.autograd.gradgradcheck(lambda z: built(settings)(z, groups), z)


@every_loss
@pytest.mark.parametrize(
    "groups", [torch.zeros(4, dtype=torch.long), torch.tensor([0, 0]), torch.tensor([0, 1, 0, 1])], ids=str
)
def test_equal_embeddings_and_missing_negatives_give_finite_losses_and_gradients(settings, groups):
    z = torch.ones(len(groups), 3, requires_grad=True)
    value = built(settings)(z, groups)
    (gradient,) = torch.autograd.grad(value, z)
    assert value.isfinite()
    assert gradient.isfinite().all()


@every_loss
def test_it_is_least_where_views_agree_and_samples_are_far_apart(settings):
    apart = torch.eye(4, dtype=torch.float64).repeat(2, 1)
    groups = torch.arange(4).repeat(2)
    best = built(settings)(apart, groups).item()
    assert best < built(settings)(embeddings(0, 8), groups).item()
    assert best < built(settings)(torch.ones(8, 4, dtype=torch.float64), groups).item()


def test_equal_embeddings_cost_infonce_the_log_of_the_choices():
    loss = built(InfoNce())(torch.ones(8, 4), torch.arange(4).repeat(2))
    assert loss.item() == pytest.approx(math.log(7), rel=1e-6)


@every_loss
def test_half_precision_embeddings_are_compared_in_single_under_autocast_too(settings):
    z = embeddings(dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        value = built(settings)(z, VIEWS)
    assert value.dtype == torch.float32
    assert torch.equal(value, built(settings)(z.float(), VIEWS))
