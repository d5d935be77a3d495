"""The detectors, one file each. Importing this package registers them, in the order of severity and cause."""

from app.alerts.detectors import (  # isort: skip  (the order is the order of the catalogue)
    non_finite,
    rank_divergence,
    divergence,
    exploding_gradient,
    vanishing_gradient,
    dead_units,
    loss_spike,
    sharpness,
    update_ratio,
    worker_lost,
)

__all__ = [
    "dead_units",
    "divergence",
    "exploding_gradient",
    "loss_spike",
    "non_finite",
    "rank_divergence",
    "sharpness",
    "update_ratio",
    "vanishing_gradient",
    "worker_lost",
]
