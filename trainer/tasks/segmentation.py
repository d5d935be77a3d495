"""Telling which class each pixel belongs to."""

from torch import Tensor

from gyrostat.spec.tasks import Segmentation
from trainer.tasks.supervised import INPUT_GRADIENT, Supervised
from trainer.tasks.tallies import mean_iou, overlap_shares
from trainer.tasks.task import ACCURACY_GAP, GAP, TASKS, accuracy


@TASKS.implements(Segmentation)
class SegmentationTask(Supervised):
    """Targets are masks (N, H, W) of class numbers, outputs scores (N, K, H, W)."""

    scalars = (
        "accuracy.train",
        "mean_iou.train",
        "loss.validation",
        "accuracy.validation",
        "mean_iou.validation",
        GAP,
        ACCURACY_GAP,
        INPUT_GRADIENT,
    )

    def measured(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The share of pixels classified rightly, and the overlap of regions."""
        overlap = mean_iou(overlap_shares(outputs, targets))
        return {"accuracy": accuracy(outputs.movedim(1, -1), targets), "mean_iou": overlap}

    def tallied(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Shares of pixels by class."""
        return {"overlaps": overlap_shares(outputs, targets)}

    def concluded(self, means: dict[str, Tensor]) -> dict[str, Tensor]:
        """Means, but the overlap of all held-out pixels together, where a batch may lack a class."""
        overlap = mean_iou(means["overlaps"])
        plain = {name: value for name, value in means.items() if not value.ndim}
        return {**super().concluded(plain), "mean_iou.validation": overlap}
