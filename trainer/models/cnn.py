"""The plain convolutional net."""

from torch import Tensor, nn

from gyrostat.spec.architectures import Cnn
from gyrostat.spec.dropout import Dropout
from gyrostat.spec.regularization import Regularization
from trainer.models.registry import MODELS
from trainer.models.sequence import sequence
from trainer.models.stages import Unit, units
from trainer.stabilizers import activations, dropout, normalization


class Convolutional(nn.Module):
    """3 x 3 convolutions in stages, each with norm, activation and dropout; global average pooling; a linear output."""

    def __init__(self, settings: Cnn, drop: Dropout | None, channels: int, outputs: int) -> None:
        super().__init__()
        plan = units(settings.depth, settings.hidden, settings.stages, channels)
        rows = (nn.Sequential(*(_layer(settings, drop, unit) for unit in row)) for row in plan)
        self.stages = nn.ModuleList(sequence(layers=row) for row in rows)
        self.output = nn.Linear(plan[-1][-1].channels, outputs)

    def features(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to what the output reads, (N, F)."""
        for stage in self.stages:
            x = stage(x)
        return x.mean((-2, -1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, outputs)."""
        logits: Tensor = self.output(self.features(x))
        return logits


def _layer(settings: Cnn, drop: Dropout | None, unit: Unit) -> nn.Module:
    bias = not normalization.cancels_bias(settings.norm)
    return sequence(
        conv=nn.Conv2d(unit.inputs, unit.channels, 3, stride=unit.stride, padding=1, bias=bias),
        norm=normalization.build(settings.norm, unit.channels, dims=2),
        activation=activations.build(settings.activation),
        dropout=dropout.build(drop, dims=2),
    )


@MODELS.implements(Cnn)
def _cnn(settings: Cnn, regularization: Regularization, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    return Convolutional(settings, regularization.dropout, input_shape[0], outputs)
