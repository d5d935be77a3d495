"""The fully connected net."""

import math

from torch import Tensor, nn

from gyrostat.spec.architectures import Mlp
from gyrostat.spec.regularization import Regularization
from trainer.models.registry import MODELS
from trainer.models.sequence import sequence
from trainer.stabilizers import activations, dropout, normalization
from trainer.stabilizers.connections import Block, joined_features


class FullyConnected(nn.Module):
    """`depth` hidden layers and a linear output, over samples of any shape, flattened.

    A hidden layer is linear, norm, activation, dropout. With a connection every layer but the first is a block: with
    post placement joined before the activation, with pre placement norm, activation, dropout, linear, joined at its end
    (and then one last norm and activation before the output, since the blocks' sum has none). With dense connections
    layer l reads l times `width` features.
    """

    def __init__(self, settings: Mlp, regularization: Regularization, features: int, outputs: int) -> None:
        super().__init__()
        parts = _Parts(settings, regularization)
        layers: list[nn.Module] = []
        for index in range(settings.depth):
            layers.append(parts.first(features) if index == 0 else parts.layer(features, index))
            features = (
                settings.hidden if index == 0 else joined_features(settings.connection, features, settings.hidden)
            )
        self.layers = nn.ModuleList(layers) if layers else None
        self.final = sequence(**parts.head(features)) if parts.pre and layers else None
        self.output = nn.Linear(features, outputs)

    def features(self, x: Tensor) -> Tensor:
        """(N, *input_shape) to what the output reads, (N, F)."""
        x = x.flatten(1)
        for layer in self.layers or ():
            x = layer(x)
        return x if self.final is None else self.final(x)

    def forward(self, x: Tensor) -> Tensor:
        """(N, *input_shape) to (N, outputs)."""
        logits: Tensor = self.output(self.features(x))
        return logits


class _Parts:
    """Makes the layers."""

    def __init__(self, settings: Mlp, regularization: Regularization) -> None:
        self.settings, self.regularization = settings, regularization
        self.pre = settings.connection is not None and settings.connection.placement == "pre"

    def linear(self, inputs: int) -> nn.Module:
        # with pre placement too, where only norms read the sums that the bias goes into
        return nn.Linear(inputs, self.settings.hidden, bias=not normalization.cancels_bias(self.settings.norm))

    def norm(self, features: int) -> nn.Module:
        return normalization.build(self.settings.norm, features, dims=1)

    def act(self) -> dict[str, nn.Module]:
        """Activation and dropout."""
        return {
            "activation": activations.build(self.settings.activation),
            "dropout": dropout.build(self.regularization.dropout, dims=1),
        }

    def head(self, features: int) -> dict[str, nn.Module]:
        """Norm, activation and dropout."""
        return {"norm": self.norm(features), **self.act()}

    def first(self, inputs: int) -> nn.Module:
        """The layer that changes the width, and so has nothing to skip."""
        linear = {"linear": self.linear(inputs)}
        return sequence(**linear) if self.pre else sequence(**linear, **self.head(self.settings.hidden))

    def layer(self, inputs: int, index: int) -> nn.Module:
        """The layer of this index, at least 1."""
        if self.pre:
            branch, after = {**self.head(inputs), "linear": self.linear(inputs)}, {}
        else:
            branch, after = {"linear": self.linear(inputs), "norm": self.norm(self.settings.hidden)}, self.act()
        if self.settings.connection is None:
            return sequence(**branch, **after)
        survival = dropout.survival(self.regularization.stochastic_depth, index - 1, self.settings.depth - 1)
        return Block(branch, after, connection=self.settings.connection, features=inputs, dims=1, survival=survival)


@MODELS.implements(Mlp)
def _mlp(settings: Mlp, regularization: Regularization, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    return FullyConnected(settings, regularization, math.prod(input_shape), outputs)
