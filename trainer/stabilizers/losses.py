"""Loss functions, and what the training loss of a classifier may hold besides (brief sections 4 and 11).

Every loss is a mean over samples (and positions or pixels) in which each has a weight that no other sample of its
batch changes, so that the mean over a step's batch is the mean of its micro-batches' and ranks' means. Scores for
classes are (N, K), (N, T, K) for T positions, or (N, K, H, W) for pixels; targets are class numbers of that shape
without K, or probabilities of that shape. Computed in float32 at least, whatever the scores come in.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from gyrostat.spec.contrastive import InfoNce, PairContrastive, Triplet
from gyrostat.spec.data import TaskKind
from gyrostat.spec.losses import ClassWeights, ConfidencePenalty, CrossEntropy, Focal, LabelSmoothing, Loss, Mse
from gyrostat.spec.regularization import Regularization
from trainer.stabilizers import contrastive
from trainer.stabilizers.registry import Registry

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""(outputs, targets) to their mean loss, a 0-dim tensor."""

LOSSES: Registry[LossFunction] = Registry("loss")
SMOOTHINGS: Registry[Callable[[Tensor, Tensor], Tensor]] = Registry("label smoothing")
PENALTIES: Registry[Callable[[Tensor], Tensor]] = Registry("confidence penalty")

_OWN: dict[TaskKind, type[Mse | InfoNce]] = {"regression": Mse, "denoising": Mse, "contrastive": InfoNce}


def build(settings: Loss | None, task: TaskKind, counts: Tensor | None = None) -> LossFunction:
    """The loss, or for None the task's own: mean squared error, InfoNCE, else cross-entropy.

    `counts` (K,) is how many training labels each class has; weighted losses need it.

    Raises:
        ValueError: a list of class weights is not as long as there are classes.
    """
    if settings is None:
        settings = _OWN.get(task, CrossEntropy)()
    if isinstance(settings, InfoNce | PairContrastive | Triplet):
        return contrastive.EMBEDDING_LOSSES.of(settings)(settings)
    return LOSSES.of(settings)(settings, counts)


def regularized(loss: LossFunction, settings: Regularization) -> LossFunction:
    """The loss of smoothed labels, and the penalty on confidence, as the settings say."""
    smoothing, penalty = settings.label_smoothing, settings.confidence_penalty

    def whole(outputs: Tensor, targets: Tensor) -> Tensor:
        if smoothing is not None:
            targets = SMOOTHINGS.of(smoothing)(smoothing)(targets, outputs)
        value = loss(outputs, targets)
        return value if penalty is None else value + PENALTIES.of(penalty)(penalty)(outputs)

    return whole


def cross_entropy(outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean of Σ_k w_k·t_k·(−log softmax(z)_k), t the target's probabilities (all of it, for a class number).

    Source: Goodfellow, Bengio and Courville 2016, Deep Learning, section 6.2.2.3.
    """
    scores = rows(outputs)
    if weights is None:
        return functional.cross_entropy(scores, rows(targets) if _soft(targets) else targets.flatten())
    return -(weights * probabilities(targets, outputs) * scores.log_softmax(1)).sum(1).mean()


def focal(outputs: Tensor, targets: Tensor, gamma: float, weights: Tensor | None = None) -> Tensor:
    """Mean of Σ_k w_k·t_k·(1 − p_k)^γ·(−log p_k), p = softmax(z); cross-entropy at γ = 0.

    Source: Lin et al. 2017, arXiv 1708.02002, eq. 5.
    """
    logs = rows(outputs).log_softmax(1)
    # 1 − p without cancellation; never 0, where a power below 1 has no derivative
    hardness = (-torch.expm1(logs)).clamp_min(1e-12) ** gamma
    terms = probabilities(targets, outputs) * hardness * logs
    return -(terms if weights is None else weights * terms).sum(1).mean()


def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """(ŷ − y)², mean over samples and outputs; both (N, ...).

    Source: Goodfellow, Bengio and Courville 2016, Deep Learning, section 6.2.2.1.
    """
    return functional.mse_loss(_full(outputs), _full(targets))


def smoothed(targets: Tensor, outputs: Tensor, epsilon: float) -> Tensor:
    """(1 − ε)·y + ε/K, of the shape of `outputs`.

    Source: Szegedy et al. 2015, arXiv 1512.00567, section 7.
    """
    spread = (1 - epsilon) * probabilities(targets, outputs) + epsilon / rows(outputs).shape[1]
    if outputs.ndim == 4:
        return spread.reshape(len(outputs), *outputs.shape[2:], -1).movedim(-1, 1)
    return spread.reshape(outputs.shape)


def negative_entropy(outputs: Tensor) -> Tensor:
    """Σ_k p_k·log p_k, mean over samples (and positions or pixels).

    Source: Pereyra et al. 2017, arXiv 1701.06548, section 3.
    """
    logs = rows(outputs).log_softmax(1)
    return (logs.exp() * logs).sum(1).mean()


def class_weights(settings: ClassWeights, counts: Tensor | None) -> Tensor | None:
    """(K,) float32 with Σ_k w_k·n_k/n = 1 over the training labels' counts n_k; None for None.

    "balanced" is 1/n_k; a class that the training data lacks counts as if it had one label.

    Raises:
        ValueError: there are no counts, or not as many weights as classes.
    """
    if settings is None:
        return None
    if counts is None:
        raise ValueError("class weights need the counts of the training labels; this task has none")
    shares = counts.double() / counts.sum()
    if settings == "balanced":
        weights = 1 / counts.double().clamp_min(1)
    elif len(settings) == len(counts):
        weights = torch.tensor(settings, dtype=torch.float64, device=counts.device)
    else:
        raise ValueError(f"loss.class_weights has {len(settings)} weights for {len(counts)} classes; give one each")
    return (weights / (shares * weights).sum()).float()


def rows(scores: Tensor) -> Tensor:
    """(M, K), in float32 at least, of scores or probabilities (N, K), (N, T, K) or (N, K, H, W)."""
    return _full(scores.movedim(1, -1) if scores.ndim == 4 else scores).flatten(0, -2)


def probabilities(targets: Tensor, outputs: Tensor) -> Tensor:
    """(M, K): the targets as probabilities of the classes that `outputs` scores, row by row of `rows(outputs)`."""
    if _soft(targets):
        return rows(targets)
    scores = rows(outputs)
    return torch.zeros_like(scores).scatter_(1, targets.reshape(-1, 1), 1.0)


def _soft(targets: Tensor) -> bool:
    return targets.is_floating_point()


def _full(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


@LOSSES.implements(CrossEntropy)
def _cross_entropy(settings: CrossEntropy, counts: Tensor | None) -> LossFunction:
    weights = class_weights(settings.class_weights, counts)
    return cross_entropy if weights is None else lambda outputs, targets: cross_entropy(outputs, targets, weights)


@LOSSES.implements(Focal)
def _focal(settings: Focal, counts: Tensor | None) -> LossFunction:
    weights = class_weights(settings.class_weights, counts)
    return lambda outputs, targets: focal(outputs, targets, settings.gamma, weights)


@LOSSES.implements(Mse)
def _mse(settings: Mse, counts: Tensor | None) -> LossFunction:
    return mse


@SMOOTHINGS.implements(LabelSmoothing)
def _smoothing(settings: LabelSmoothing) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda targets, outputs: smoothed(targets, outputs, settings.epsilon)


@PENALTIES.implements(ConfidencePenalty)
def _penalty(settings: ConfidencePenalty) -> Callable[[Tensor], Tensor]:
    return lambda outputs: settings.weight * negative_entropy(outputs)
