"""From a run spec to its network."""

from torch import nn

from gyrostat.spec.run import RunSpec
from trainer.models import cnn, mlp, resnet, transformer  # noqa: F401  (each registers its architecture)
from trainer.models.registry import MODELS


def build(spec: RunSpec, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """The spec's network for samples of `input_shape` (without the batch axis), with torch's default weights.

    `outputs` is the number of classes, of regression targets, or of tokens in the vocabulary.
    """
    return MODELS.of(spec.model)(spec, input_shape, outputs)
