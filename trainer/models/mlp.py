"""The fully connected net."""

import math

from torch import Tensor, nn

from gyrostat.spec.architectures import Mlp
from gyrostat.spec.dropout import Dropout
from gyrostat.spec.regularization import Regularization
from trainer.models.registry import MODELS
from trainer.models.sequence import sequence
from trainer.stabilizers import activations, dropout, normalization
from trainer.stabilizers.connections import Block


class FullyConnected(nn.Module):
    """`depth` hidden layers and a linear output, over samples of any shape, flattened.

    A hidden layer is linear, norm, activation, dropout. With a connection every layer but the first is a block: with
    post placement joined before the activation, with pre placement norm, activation, dropout, linear, joined at its end
    (and then one last norm and activation before the output, since the blocks' sum has none).
    """

    def __init__(self, settings: Mlp, drop: Dropout | None, features: int, outputs: int) -> None:
        super().__init__()
        pre = settings.connection is not None and settings.connection.placement == "pre"
        layers: list[nn.Module] = []
        for index in range(settings.depth):
            inputs = features if index == 0 else settings.hidden
            layers.append(_layer(settings, drop, inputs, first=index == 0, pre=pre))
        self.layers = nn.ModuleList(layers) if layers else None
        self.final = sequence(**_head(settings, drop)) if pre and layers else None
        self.output = nn.Linear(settings.hidden if layers else features, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, *input_shape) to (N, outputs)."""
        x = x.flatten(1)
        for layer in self.layers or ():
            x = layer(x)
        x = x if self.final is None else self.final(x)
        logits: Tensor = self.output(x)
        return logits


def _head(settings: Mlp, drop: Dropout | None) -> dict[str, nn.Module]:
    return {
        "norm": normalization.build(settings.norm, settings.hidden, dims=1),
        "activation": activations.build(settings.activation),
        "dropout": dropout.build(drop, dims=1),
    }


def _layer(settings: Mlp, drop: Dropout | None, inputs: int, *, first: bool, pre: bool) -> nn.Module:
    head = _head(settings, drop)
    # with pre placement too, where only norms read the sums that the bias goes into
    linear = nn.Linear(inputs, settings.hidden, bias=not normalization.cancels_bias(settings.norm))
    if pre:
        if first:
            return sequence(linear=linear)
        return Block({**head, "linear": linear}, {}, connection=settings.connection)
    branch = {"linear": linear, "norm": head.pop("norm")}
    if first or settings.connection is None:
        return sequence(**branch, **head)
    return Block(branch, head, connection=settings.connection)


@MODELS.implements(Mlp)
def _mlp(settings: Mlp, regularization: Regularization, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    return FullyConnected(settings, regularization.dropout, math.prod(input_shape), outputs)
