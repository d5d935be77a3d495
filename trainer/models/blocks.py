"""Blocks of two convolutions, of which residual nets, encoder-decoders and pyramids are made.

He et al. 2015, arXiv 1512.03385; pre-activation: 2016, arXiv 1603.05027.
"""

from torch import Tensor, nn
from torch.nn import functional

from gyrostat.spec.activations import Activation
from gyrostat.spec.connections import Connection
from gyrostat.spec.normalization import Norm
from gyrostat.spec.regularization import Regularization
from trainer.models.sequence import sequence
from trainer.models.stages import Unit
from trainer.stabilizers import activations, dropout, normalization
from trainer.stabilizers.connections import Block


class Shift(nn.Linear):
    """Adds a linear image of a condition (N, F), one number per channel, to images (N, C, H, W)."""

    conditional = True

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """The shifted images.

        Raises:
            ValueError: there is no condition.
        """
        if condition is None:
            raise ValueError("a net with conditional blocks was called without their condition; pass t beside x")
        return x + functional.linear(condition, self.weight, self.bias)[..., None, None]


class Blocks:
    """Makes the blocks of a net, one after the other, and other parts of the same kind.

    Args:
        norm, activation, connection, regularization: of every block.
        number: of all blocks that will be made, over which stochastic depth spreads.
        condition: features of a condition that shifts every block between its two convolutions, after the norm, which
            would cancel it; None for no condition.
    """

    def __init__(
        self,
        norm: Norm | None,
        activation: Activation,
        connection: Connection | None,
        regularization: Regularization,
        *,
        number: int,
        condition: int | None = None,
    ) -> None:
        self._norm, self._activation, self._connection = norm, activation, connection
        self._regularization, self._condition = regularization, condition
        self._number, self._made = number, 0
        self.pre = connection is not None and connection.placement == "pre"

    def conv(self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Module:
        """A convolution that keeps the image's size but for its stride."""
        bias = not normalization.cancels_bias(self._norm)  # with pre placement too: norms alone read the sums
        return nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=bias)

    def norm(self, channels: int) -> nn.Module:
        """The normalization of so many channels."""
        return normalization.build(self._norm, channels, dims=2)

    def act(self, suffix: str = "") -> dict[str, nn.Module]:
        """Activation and dropout."""
        return {
            f"activation{suffix}": activations.build(self._activation),
            f"dropout{suffix}": dropout.build(self._regularization.dropout, dims=2),
        }

    def head(self, channels: int, suffix: str = "") -> dict[str, nn.Module]:
        """Norm, activation and dropout."""
        return {f"norm{suffix}": self.norm(channels), **self.act(suffix)}

    def stem(self, inputs: int, channels: int) -> nn.Module:
        """The first convolution; with pre placement a bare one, since blocks begin with norm and activation."""
        conv = {"conv": self.conv(inputs, channels)}
        return sequence(**conv) if self.pre else sequence(**conv, **self.head(channels))

    def final(self, channels: int) -> nn.Module | None:
        """What with pre placement follows the last block, whose sum has neither norm nor activation."""
        return sequence(**self.head(channels)) if self.pre else None

    def stage(self, row: list[Unit]) -> nn.Module:
        """The blocks of a stage."""
        return sequence(blocks=nn.Sequential(*(self.block(u.inputs, u.channels, stride=u.stride) for u in row)))

    def block(self, inputs: int, channels: int, *, stride: int = 1) -> Block:
        """The next block.

        Where it changes the shape, its shortcut is a 1 x 1 convolution of the same stride.
        """
        shift = self._shift(channels)
        if self.pre:
            branch = {
                **self.head(inputs, "1"),
                "conv1": self.conv(inputs, channels, stride=stride),
                "norm2": self.norm(channels),
                **shift,
                **self.act("2"),
                "conv2": self.conv(channels, channels),
            }
            after: dict[str, nn.Module] = {}
        else:
            branch = {
                "conv1": self.conv(inputs, channels, stride=stride),
                "norm1": self.norm(channels),
                **shift,
                **self.act("1"),
                "conv2": self.conv(channels, channels),
                "norm2": self.norm(channels),
            }
            after = self.act("2")
        survival = dropout.survival(self._regularization.stochastic_depth, self._made, self._number)
        self._made += 1
        return Block(
            branch,
            after,
            connection=self._connection,
            features=channels,
            dims=2,
            shortcut=self._shortcut(inputs, channels, stride),
            survival=survival,
        )

    def _shift(self, channels: int) -> dict[str, nn.Module]:
        return {} if self._condition is None else {"shift": Shift(self._condition, channels)}

    def _shortcut(self, inputs: int, channels: int, stride: int) -> nn.Module | None:
        if self._connection is None or (inputs, stride) == (channels, 1):
            return None
        conv = {"conv": self.conv(inputs, channels, kernel=1, stride=stride)}
        return sequence(**conv) if self.pre else sequence(**conv, norm=self.norm(channels))
