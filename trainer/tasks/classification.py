"""Telling which class a sample belongs to."""

from torch import Tensor

from gyrostat.spec.tasks import Classification
from trainer.tasks.supervised import Supervised
from trainer.tasks.task import TASKS, accuracy


@TASKS.implements(Classification)
class ClassificationTask(Supervised):
    """Measures the accuracy beside the loss."""

    scalars = ("accuracy.train", "loss.validation", "accuracy.validation")

    def measured(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The share of samples classified rightly."""
        return {"accuracy": accuracy(outputs, targets)}
