"""The section of the spec that holds what works against overfitting."""

from typing import Annotated

from gyrostat.spec.catalogue import Settings, Shorthand
from gyrostat.spec.distillation import Distillation
from gyrostat.spec.dropout import DropConnect, Dropout, StochasticDepth
from gyrostat.spec.losses import ConfidencePenalty, LabelSmoothing
from gyrostat.spec.weight_decay import WeightDecay


class Regularization(Settings):
    """Stochastic regularization inside the model."""

    dropout: Dropout | None = None
    """Dropout after each hidden activation; null for none."""
    dropconnect: Annotated[DropConnect, Shorthand] | None = None
    """Dropout of weights; null for none."""
    stochastic_depth: Annotated[StochasticDepth, Shorthand] | None = None
    """Dropout of whole residual branches; null for none."""
    label_smoothing: Annotated[LabelSmoothing, Shorthand] | None = None
    """Softer labels in a classifier's training loss; null for none."""
    confidence_penalty: Annotated[ConfidencePenalty, Shorthand] | None = None
    """Entropy of a classifier's answers, rewarded in its training loss; null for none."""
    distillation: Distillation | None = None
    """A teacher whose answers a classifier's training loss compares with its own; null for none."""
    weight_decay: WeightDecay | None = None
    """In place of the optimizer's own weight decay; null leaves that."""
