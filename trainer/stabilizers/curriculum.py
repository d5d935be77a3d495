"""Curriculum learning (brief section 5): how difficult each sample is, and how many are trained on at a step.

Scores are functions of the data alone, computed once, on the CPU, in float64.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from gyrostat.spec.curriculum import (
    AnyCurriculum,
    Curriculum,
    LengthCurriculum,
    LossCurriculum,
    NoiseCurriculum,
)
from trainer.stabilizers.registry import Registry

SCORES: Registry[Tensor] = Registry("curriculum of samples")
"""Each is called with (inputs (n, ...), targets) and answers (n,) scores, easy ones small."""

WINDOW_SCORES: Registry[Tensor] = Registry("curriculum of text")
"""Each is called with (tokens (n,), length); answers the scores of the windows from each of the n − length starts."""

MAX_FEATURES = 1024
MAX_FITTED = 20_000
RIDGE = 0.1


def fraction(settings: Curriculum, step: int, run_steps: int) -> float:
    """The easiest part of the data that `step` (0 is the first) of `run_steps` may draw from, in (0, 1].

    Source: Platanios et al. 2019, arXiv 1903.09848, linear and square-root competence; Hacohen and Weinshall 2019,
    arXiv 1904.03626, single-step pacing.
    """
    start, length = settings.start_fraction, settings.steps or max(1, run_steps // 2)
    if step >= length:
        return 1.0
    if settings.pacing == "step":
        return start
    passed = step / length
    if settings.pacing == "linear":
        return min(1.0, start + (1 - start) * passed)
    return min(1.0, math.sqrt(start**2 + (1 - start**2) * passed))


def sample_scores(settings: AnyCurriculum, inputs: Tensor, targets: Tensor) -> Tensor:
    """How difficult each labelled sample is, (n,) float64 on the CPU."""
    return SCORES.of(settings)(inputs.detach().cpu().double(), targets.detach().cpu())


def window_scores(settings: AnyCurriculum, tokens: Tensor, length: int) -> Tensor:
    """How difficult the window of `length` tokens (and the one after it) from each start on is, (n − length,)."""
    return WINDOW_SCORES.of(settings)(tokens.detach().cpu(), length)


@SCORES.implements(LossCurriculum)
def teacher_loss(inputs: Tensor, targets: Tensor) -> Tensor:
    """Squared error of a ridge regression on the targets (class numbers one-hot), mean over outputs.

    The ridge is 0.1 for each sample; more than 1024 inputs are projected at random onto so many; the fit takes at most
    the first 20,000 samples. In closed form, so that no step size and no seed is in it.
    """
    features = inputs.flatten(1)
    if features.shape[1] > MAX_FEATURES:
        source = torch.Generator().manual_seed(0)
        projection = torch.randn(features.shape[1], MAX_FEATURES, generator=source, dtype=features.dtype)
        features = features @ (projection / math.sqrt(features.shape[1]))
    features = torch.cat((features, torch.ones(len(features), 1, dtype=features.dtype)), dim=1)
    wanted = targets.double() if targets.is_floating_point() else functional.one_hot(targets).double()
    fitted, aims = features[:MAX_FITTED], wanted[:MAX_FITTED]
    penalty = RIDGE * len(fitted) * torch.eye(fitted.shape[1], dtype=features.dtype)
    weights = torch.linalg.solve(fitted.T @ fitted + penalty, fitted.T @ aims)
    loss: Tensor = (features @ weights - wanted).square().mean(1)
    return loss


@SCORES.implements(NoiseCurriculum)
def noise_level(inputs: Tensor, targets: Tensor) -> Tensor:
    """σ̂ = √(π/2)·mean|x ∗ N|/6 of each image, mean over channels; inputs (n, C, H, W), H and W at least 3.

    Source: Immerkær 1996, Computer Vision and Image Understanding 64(2).
    """
    kernel = torch.tensor([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]], dtype=inputs.dtype)
    planes = inputs.flatten(0, 1).unsqueeze(1)
    level = functional.conv2d(planes, kernel.view(1, 1, 3, 3)).abs().mean((1, 2, 3)) * math.sqrt(math.pi / 2) / 6
    return level.view(inputs.shape[:2]).mean(1)


@WINDOW_SCORES.implements(LossCurriculum)
def bigram_loss(tokens: Tensor, length: int) -> Tensor:
    """−log p(next token | token) by the text's own counts plus one, mean over the window's targets."""
    size = int(tokens.max()) + 1
    pairs, place, counts = torch.unique(tokens[:-1] * size + tokens[1:], return_inverse=True, return_counts=True)
    before = torch.bincount(tokens[:-1], minlength=size)[pairs // size]
    surprise = -torch.log((counts + 1) / (before + size).double())[place]
    total = functional.pad(surprise.cumsum(0), (1, 0))
    return (total[length:] - total[:-length]) / length


@WINDOW_SCORES.implements(LengthCurriculum)
def distinct_tokens(tokens: Tensor, length: int) -> Tensor:
    """How many different tokens the window holds.

    A token at i counts in every window that begins after its last occurrence before i and reaches i, so that the counts
    are a running sum of +1 where such windows begin and −1 after where they end.
    """
    total = len(tokens)
    order = torch.argsort(tokens, stable=True)
    former = torch.full((total,), -1)
    same = tokens[order[1:]] == tokens[order[:-1]]
    former[order[1:][same]] = order[:-1][same]
    here = torch.arange(total)
    first = torch.maximum(former + 1, (here - length + 1).clamp(min=0))
    changes = torch.zeros(total + 1, dtype=torch.float64)
    changes.index_add_(0, first, torch.ones(total, dtype=torch.float64))
    changes.index_add_(0, here + 1, -torch.ones(total, dtype=torch.float64))
    return changes.cumsum(0)[: total - length]
