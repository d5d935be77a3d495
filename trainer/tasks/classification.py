"""Telling which class a sample belongs to."""

import torch
from torch import Tensor, nn

from gyrostat.spec.tasks import Classification
from trainer.tasks.margins import input_margins
from trainer.tasks.supervised import INPUT_GRADIENT, Supervised
from trainer.tasks.tallies import calibration_gaps, expected_calibration_error, recall_shares, worst_recall
from trainer.tasks.task import ACCURACY_GAP, GAP, TASKS, accuracy

MARGINS = ("generalization.margin_p10", "generalization.margin_median")


@TASKS.implements(Classification)
class ClassificationTask(Supervised):
    """Measures accuracy beside the loss; of held-out samples also calibration, margins, and the worst class."""

    scalars = (
        "accuracy.train",
        "loss.validation",
        "accuracy.validation",
        "accuracy.worst_class_recall",
        "calibration.expected_error",
        GAP,
        ACCURACY_GAP,
        INPUT_GRADIENT,
        *MARGINS,
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

    def examined(self, model: nn.Module) -> dict[str, Tensor]:
        """What all supervised tasks say, and how far held-out samples are from the boundaries between classes."""
        inputs, targets = self.examined_samples()
        margins = input_margins(model, inputs, targets)
        levels = torch.tensor([0.1, 0.5], dtype=margins.dtype, device=margins.device)
        return {**super().examined(model), **dict(zip(MARGINS, torch.quantile(margins, levels), strict=True))}
