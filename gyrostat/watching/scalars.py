"""Names of what a loop logs, as names of metrics."""

import re

from gyrostat.spec.metrics import METRICS

MOST = 200
"""Scalars of its own that a loop may log."""

_ALIASES = {
    "loss": "loss.train",
    "train_loss": "loss.train",
    "val_loss": "loss.validation",
    "eval_loss": "loss.validation",
}
_PART = re.compile(r"[a-z][a-z0-9_]*")


def metric_name(given: str) -> str:
    """The metric that a loop's `given` name stands for: `my/Top-5 accuracy` is `my.top_5_accuracy`.

    Slashes and dots part families from quantities; a name without them is of the family `user`, but for the loss.

    Raises:
        ValueError: a part is empty or begins with no letter, or the whole is too long.
    """
    if given in METRICS:
        return given
    if given in _ALIASES:
        return _ALIASES[given]
    parts = [re.sub(r"[^a-z0-9_]+", "_", part.strip().lower()) for part in re.split(r"[/.]", given)]
    if not all(_PART.fullmatch(part) for part in parts):
        raise ValueError(f"{given!r} cannot be logged: between slashes and dots, names begin with a letter; rename it")
    name = ".".join(parts if len(parts) > 1 else ["user", *parts])
    if len(name) > 96:
        raise ValueError(f"{given!r} cannot be logged: it has more than 96 characters; shorten it")
    return name
