"""Telling which class a sample belongs to."""

from torch import Tensor

from gyrostat.spec.tasks import Classification
from trainer.tasks.supervised import INPUT_GRADIENT, Supervised
from trainer.tasks.tallies import calibration_gaps, expected_calibration_error, recall_shares, worst_recall
from trainer.tasks.task import TASKS, accuracy


@TASKS.implements(Classification)
class ClassificationTask(Supervised):
    """Measures accuracy beside the loss; of held-out samples also calibration, and the class that fares worst."""

    scalars = (
        "accuracy.train",
        "loss.validation",
        "accuracy.validation",
        "accuracy.worst_class_recall",
        "calibration.expected_error",
        INPUT_GRADIENT,
    )

    def measured(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The share of samples classified rightly."""
        return {"accuracy": accuracy(outputs, targets)}

    def tallied(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Gaps by confidence, and shares by class."""
        return {"gaps": calibration_gaps(outputs, targets), "recalls": recall_shares(outputs, targets)}

    def concluded(self, means: dict[str, Tensor]) -> dict[str, Tensor]:
        """Means, the expected calibration error and the worst recall."""
        plain = {name: value for name, value in means.items() if not value.ndim}
        return {
            **super().concluded(plain),
            "accuracy.worst_class_recall": worst_recall(means["recalls"]),
            "calibration.expected_error": expected_calibration_error(means["gaps"]),
        }
