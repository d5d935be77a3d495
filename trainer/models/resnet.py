"""The residual convolutional net (He et al. 2015, arXiv 1512.03385; pre-activation: 2016, arXiv 1603.05027)."""

from torch import Tensor, nn

from gyrostat.spec.architectures import ResNet
from gyrostat.spec.regularization import Regularization
from trainer.models.blocks import Blocks
from trainer.models.registry import MODELS
from trainer.models.stages import units


class ResidualNet(nn.Module):
    """A 3 x 3 stem, stages of two-convolution blocks, global average pooling, a linear output.

    With pre placement the stem is a bare convolution and one last norm and activation precede the pooling. Where a
    block changes the shape, its shortcut is a 1 x 1 convolution of the same stride.
    """

    def __init__(self, settings: ResNet, regularization: Regularization, channels: int, outputs: int) -> None:
        super().__init__()
        blocks = Blocks(settings.norm, settings.activation, settings.connection, regularization, number=settings.depth)
        plan = units(settings.depth, settings.hidden, settings.stages, settings.hidden)
        last = plan[-1][-1].channels
        self.stem = blocks.stem(channels, settings.hidden)
        self.stages = nn.ModuleList(blocks.stage(row) for row in plan)
        self.final = blocks.final(last)
        self.output = nn.Linear(last, outputs)

    def features(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to what the output reads, (N, F)."""
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        x = x if self.final is None else self.final(x)
        return x.mean((-2, -1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, outputs)."""
        logits: Tensor = self.output(self.features(x))
        return logits


@MODELS.implements(ResNet)
def _resnet(settings: ResNet, regularization: Regularization, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    return ResidualNet(settings, regularization, input_shape[0], outputs)
