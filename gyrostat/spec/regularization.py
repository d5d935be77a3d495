"""The section of the spec that holds what works against overfitting."""

from gyrostat.spec.catalogue import Settings
from gyrostat.spec.dropout import Dropout


class Regularization(Settings):
    """Stochastic regularization inside the model."""

    dropout: Dropout | None = None
    """Dropout after each hidden activation; null for none."""
