"""Loss functions (brief section 11): means over the batch."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from gyrostat.spec.data import TaskKind
from gyrostat.spec.losses import CrossEntropy, Loss, Mse
from trainer.stabilizers.registry import Registry

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""(outputs, targets) to their mean loss, a 0-dim tensor."""

LOSSES: Registry[LossFunction] = Registry("loss")


def build(settings: Loss | None, task: TaskKind) -> LossFunction:
    """The loss, or for None the task's own: mean squared error for regression, else cross-entropy."""
    if settings is None:
        settings = Mse() if task == "regression" else CrossEntropy()
    return LOSSES.of(settings)(settings)


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """−log softmax(z)_y, mean over all samples (and positions).

    `outputs` is (..., classes), `targets` (...) holds class numbers.

    Source: Goodfellow, Bengio and Courville 2016, Deep Learning, section 6.2.2.3.
    """
    return functional.cross_entropy(outputs.flatten(0, -2), targets.flatten())


def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """(ŷ − y)², mean over samples and outputs; both (N, outputs).

    Source: Goodfellow, Bengio and Courville 2016, Deep Learning, section 6.2.2.1.
    """
    return functional.mse_loss(outputs, targets)


@LOSSES.implements(CrossEntropy)
def _cross_entropy(settings: CrossEntropy) -> LossFunction:
    return cross_entropy


@LOSSES.implements(Mse)
def _mse(settings: Mse) -> LossFunction:
    return mse
