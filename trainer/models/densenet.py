"""The dense convolutional net (Huang et al. 2016, arXiv 1608.06993)."""

from torch import Tensor, nn

from gyrostat.spec.architectures import DenseNet
from gyrostat.spec.regularization import Regularization
from trainer.models.blocks import Blocks
from trainer.models.registry import MODELS
from trainer.models.sequence import sequence
from trainer.stabilizers.connections import Block


class DenselyConnected(nn.Module):
    """A bare 3 x 3 convolution, stages of layers, a last norm and activation, global average pooling, a linear output.

    A layer is norm, activation, dropout and a 3 x 3 convolution, whose maps are put beside those it read. A transition
    to the next stage is norm, activation, dropout, a 1 x 1 convolution and 2 x 2 average pooling.
    """

    def __init__(self, settings: DenseNet, regularization: Regularization, channels: int, outputs: int) -> None:
        super().__init__()
        parts = Blocks(settings.norm, settings.activation, settings.connection, regularization, number=settings.depth)
        plan = settings.channels()
        grown, last = settings.scaled(settings.growth), plan[-1][-1]
        self.stem = sequence(conv=parts.conv(channels, settings.hidden))
        stages: list[nn.Module] = []
        for stage, row in enumerate(plan):
            layers = nn.Sequential(*(_layer(settings, parts, reads, grown) for reads in row[:-1]))
            before = {} if stage == 0 else {"transition": _transition(parts, plan[stage - 1][-1], row[0])}
            stages.append(sequence(**before, layers=layers))
        self.stages = nn.ModuleList(stages)
        self.final = sequence(**parts.head(last))
        self.output = nn.Linear(last, outputs)

    def features(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to what the output reads, (N, F)."""
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        x = self.final(x)
        return x.mean((-2, -1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, outputs)."""
        logits: Tensor = self.output(self.features(x))
        return logits


def _layer(settings: DenseNet, parts: Blocks, reads: int, grown: int) -> nn.Module:
    branch = {**parts.head(reads), "conv": parts.conv(reads, grown)}
    if settings.connection is None:
        return sequence(**branch)
    return Block(branch, {}, connection=settings.connection, features=reads, dims=2)


def _transition(parts: Blocks, reads: int, channels: int) -> nn.Module:
    conv = parts.conv(reads, channels, kernel=1)
    return sequence(**parts.head(reads), conv=conv, pool=nn.AvgPool2d(2, ceil_mode=True))


@MODELS.implements(DenseNet)
def _densenet(
    settings: DenseNet, regularization: Regularization, input_shape: tuple[int, ...], outputs: int
) -> nn.Module:
    return DenselyConnected(settings, regularization, input_shape[0], outputs)
