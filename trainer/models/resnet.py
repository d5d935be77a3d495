"""The residual convolutional net (He et al. 2015, arXiv 1512.03385; pre-activation: 2016, arXiv 1603.05027)."""

from torch import Tensor, nn

from gyrostat.spec.architectures import ResNet
from gyrostat.spec.dropout import Dropout
from gyrostat.spec.regularization import Regularization
from trainer.models.registry import MODELS
from trainer.models.sequence import sequence
from trainer.models.stages import Unit, units
from trainer.stabilizers import activations, dropout, normalization
from trainer.stabilizers.connections import Block


class ResidualNet(nn.Module):
    """A 3 x 3 stem, stages of two-convolution blocks, global average pooling, a linear output.

    With pre placement the stem is a bare convolution and one last norm and activation precede the pooling. Where a
    block changes the shape, its shortcut is a 1 x 1 convolution of the same stride.
    """

    def __init__(self, settings: ResNet, drop: Dropout | None, channels: int, outputs: int) -> None:
        super().__init__()
        parts = _Parts(settings, drop)
        plan = units(settings.depth, settings.hidden, settings.stages, settings.hidden)
        last = plan[-1][-1].channels
        stem = {"conv": parts.conv(channels, settings.hidden)}
        self.stem = sequence(**stem) if parts.pre else sequence(**stem, **parts.head(settings.hidden))
        self.stages = nn.ModuleList(_stage(parts, row) for row in plan)
        self.final = sequence(**parts.head(last)) if parts.pre else None
        self.output = nn.Linear(last, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, outputs)."""
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        x = x if self.final is None else self.final(x)
        logits: Tensor = self.output(x.mean((-2, -1)))
        return logits


class _Parts:
    """Makes the parts of blocks."""

    def __init__(self, settings: ResNet, drop: Dropout | None) -> None:
        self.settings, self.drop = settings, drop
        self.pre = settings.connection is not None and settings.connection.placement == "pre"

    def conv(self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Module:
        """A convolution that keeps the image's size but for its stride."""
        bias = not normalization.cancels_bias(self.settings.norm)  # with pre placement too: norms alone read the sums
        return nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=bias)

    def norm(self, channels: int) -> nn.Module:
        return normalization.build(self.settings.norm, channels, dims=2)

    def head(self, channels: int, suffix: str = "") -> dict[str, nn.Module]:
        """Norm, activation and dropout."""
        return {f"norm{suffix}": self.norm(channels), **self.act(suffix)}

    def act(self, suffix: str = "") -> dict[str, nn.Module]:
        """Activation and dropout."""
        return {
            f"activation{suffix}": activations.build(self.settings.activation),
            f"dropout{suffix}": dropout.build(self.drop, dims=2),
        }


def _stage(parts: _Parts, row: list[Unit]) -> nn.Module:
    blocks = [_pre_block(parts, unit) if parts.pre else _post_block(parts, unit) for unit in row]
    return sequence(blocks=nn.Sequential(*blocks))


def _pre_block(parts: _Parts, unit: Unit) -> Block:
    branch = {
        **parts.head(unit.inputs, "1"),
        "conv1": parts.conv(unit.inputs, unit.channels, stride=unit.stride),
        **parts.head(unit.channels, "2"),
        "conv2": parts.conv(unit.channels, unit.channels),
    }
    shortcut = None
    if (unit.inputs, unit.stride) != (unit.channels, 1):
        conv = parts.conv(unit.inputs, unit.channels, kernel=1, stride=unit.stride)
        shortcut = sequence(conv=conv)
    return Block(branch, {}, connection=parts.settings.connection, shortcut=shortcut)


def _post_block(parts: _Parts, unit: Unit) -> Block:
    branch = {
        "conv1": parts.conv(unit.inputs, unit.channels, stride=unit.stride),
        **parts.head(unit.channels, "1"),
        "conv2": parts.conv(unit.channels, unit.channels),
        "norm2": parts.norm(unit.channels),
    }
    shortcut = None
    if (unit.inputs, unit.stride) != (unit.channels, 1):
        conv = parts.conv(unit.inputs, unit.channels, kernel=1, stride=unit.stride)
        shortcut = sequence(conv=conv, norm=parts.norm(unit.channels))
    return Block(branch, parts.act("2"), connection=parts.settings.connection, shortcut=shortcut)


@MODELS.implements(ResNet)
def _resnet(settings: ResNet, regularization: Regularization, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    return ResidualNet(settings, regularization.dropout, input_shape[0], outputs)
