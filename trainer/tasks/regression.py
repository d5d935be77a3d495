"""Predicting a number from a sample."""

from torch import Tensor

from gyrostat.spec.tasks import Regression
from trainer.tasks.supervised import INPUT_GRADIENT, Supervised
from trainer.tasks.task import GAP, TASKS


@TASKS.implements(Regression)
class RegressionTask(Supervised):
    """Targets are standardized, so that a loss of 1 is that of predicting the mean."""

    scalars = ("loss.validation", GAP, INPUT_GRADIENT)

    def measured(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Nothing: the loss says it all."""
        return {}
