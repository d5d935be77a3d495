"""The highway convolutional net (Srivastava, Greff and Schmidhuber 2015, arXiv 1505.00387)."""

from torch import Tensor, nn

from gyrostat.spec.architectures import HighwayNet
from gyrostat.spec.regularization import Regularization
from trainer.models.blocks import Blocks
from trainer.models.registry import MODELS
from trainer.models.sequence import sequence
from trainer.models.stages import Unit, units
from trainer.stabilizers.connections import Block


class HighwayConvolutional(nn.Module):
    """3 x 3 convolutions in stages, each with norm, activation and dropout; average pooling; a linear output.

    The first layer of each stage changes the shape and is plain; in the others a gate joins the whole layer, activation
    included, with what it read.
    """

    def __init__(self, settings: HighwayNet, regularization: Regularization, channels: int, outputs: int) -> None:
        super().__init__()
        parts = Blocks(settings.norm, settings.activation, settings.connection, regularization, number=settings.depth)
        plan = units(settings.depth, settings.hidden, settings.stages, channels)
        rows = (nn.Sequential(*(_layer(settings, parts, unit, at == 0) for at, unit in enumerate(row))) for row in plan)
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


def _layer(settings: HighwayNet, parts: Blocks, unit: Unit, first: bool) -> nn.Module:
    branch = {"conv": parts.conv(unit.inputs, unit.channels, stride=unit.stride), **parts.head(unit.channels)}
    if first or settings.connection is None:
        return sequence(**branch)
    return Block(branch, {}, connection=settings.connection, features=unit.channels, dims=2)


@MODELS.implements(HighwayNet)
def _highway_net(
    settings: HighwayNet, regularization: Regularization, input_shape: tuple[int, ...], outputs: int
) -> nn.Module:
    return HighwayConvolutional(settings, regularization, input_shape[0], outputs)
