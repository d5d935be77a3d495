"""Networks small enough for dense Hessians, with what makes measuring hard."""

from typing import cast

import torch
from torch import Tensor, nn

CLASSES = 3


class Convolutional(nn.Module):
    """Convolution, batch normalization, an activation in place, a linear layer that is called twice.

    One channel of the activation is always zero, and one is in most of the batches.
    """

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)  # takes away what a bias before it would add, so that its gradient would be none
        with torch.no_grad():
            self.norm.bias.copy_(torch.tensor([0.0, 0.0, -2.9, -9.0]))
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.mix = nn.Linear(4, 4)
        self.head = nn.Linear(16, CLASSES)
        self.idle = nn.Linear(2, 2)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 1, 4, 4) to (N, classes)."""
        maps = self.pool(self.relu(self.norm(self.convolution(images)))).flatten(2)
        return cast(Tensor, self.head(self.mix(self.mix(maps)).flatten(1)))


class Core(nn.Module):
    """Scaled dot products of queries and keys (N, heads, T, d), softmax, values."""

    def logits(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(N, heads, T, T)."""
        scale: float = queries.shape[-1] ** -0.5
        return queries @ keys.mT * scale

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(N, heads, T, d)."""
        return self.logits(queries, keys, values).softmax(-1) @ values


class Attention(nn.Module):
    """Two heads."""

    heads = 2

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.core = Core()

    def forward(self, rows: Tensor) -> Tensor:
        """(N, T, width), as it came."""
        parts = self.project(rows).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return cast(Tensor, self.core(*parts).transpose(1, 2).flatten(2))


class Join(nn.Module):
    """Adds a branch to its trunk."""

    gain = 0.5

    def summands(self, branch: Tensor, trunk: Tensor) -> tuple[Tensor, Tensor]:
        """What each brings in."""
        return self.gain * branch, trunk

    def forward(self, branch: Tensor, trunk: Tensor) -> Tensor:
        """Of one shape."""
        branch, trunk = self.summands(branch, trunk)
        return branch + trunk


class Attentive(nn.Module):
    """Attention over the rows of an image, a normalization that is frozen, two layers that share their weight."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = Attention(4)
        self.join = Join()
        self.norm = nn.LayerNorm(4)
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.act = nn.GELU()
        self.head = nn.Linear(4, CLASSES)
        self.second.weight = self.first.weight
        self.norm.bias.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 1, 4, 4) to (N, classes)."""
        rows = images.squeeze(1)
        rows = self.norm(self.join(self.attention(rows), rows))
        return cast(Tensor, self.head(self.second(self.act(self.first(rows))).mean(1)))


class Chain(nn.Sequential):
    """Layers one after the other, each once, of which one saturates."""

    def __init__(self) -> None:
        first = nn.Linear(16, 4)
        super().__init__(nn.Flatten(), first, nn.Tanh(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, CLASSES))
        with torch.no_grad():
            first.weight.mul_(8)


NETWORKS = {"convolutional": Convolutional, "attentive": Attentive, "chain": Chain}


def optimizer_of(network: nn.Module) -> torch.optim.Optimizer:
    """One of each kind of limit: momentum, AdamW, RMSprop."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if isinstance(network, Attentive):
        return torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1)
    if isinstance(network, Chain):
        return torch.optim.RMSprop(parameters, lr=0.01, momentum=0.5)
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)


def batch_of(step: int, size: int) -> tuple[Tensor, Tensor]:
    """Images and their classes, which can be learnt; a function of the step."""
    source = torch.Generator().manual_seed(step)
    targets = torch.randint(0, CLASSES, (size,), generator=source)
    images = torch.randn(size, 1, 4, 4, generator=source)
    images[torch.arange(size), 0, targets] += 1.0
    return images, targets


def loss_of(network: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    """Mean cross-entropy, in float32."""
    images, targets = batch
    return nn.functional.cross_entropy(network(images).float(), targets)
