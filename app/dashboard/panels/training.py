"""The panels of what is learnt."""

from collections.abc import Mapping

from app.dashboard.panels.line import curves
from app.dashboard.panels.registry import Figure, Options, panel
from app.series import Series


@panel(
    "loss",
    "Loss",
    ("loss.train", "loss.validation"),
    hint="Should fall, with validation close to training.",
    controls=("smooth", "log"),
    log=True,
)
def loss(series: Mapping[str, Series], options: Options) -> Figure:
    """Training and validation loss."""
    return curves(series, options, {"loss.train": "train", "loss.validation": "validation"}, log=True)


@panel(
    "accuracy",
    "Accuracy",
    ("accuracy.train", "accuracy.validation"),
    hint="Share of samples classified rightly.",
    controls=("smooth",),
)
def accuracy(series: Mapping[str, Series], options: Options) -> Figure:
    """Training and validation accuracy."""
    labels = {"accuracy.train": "train", "accuracy.validation": "validation"}
    return curves(series, options, labels, log=False, number_format=".2%")
