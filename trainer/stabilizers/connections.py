"""Skip connections: how a block's branch is joined with what it skips (brief section 2)."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from gyrostat.probes.lipschitz import LogOf
from gyrostat.spec.connections import Connection, Dense, Highway, LayerScale, Residual, ReZero
from trainer.stabilizers import dropout
from trainer.stabilizers.registry import Registry

CONNECTIONS: Registry["Join"] = Registry("connection")


def build(settings: Connection, features: int, *, dims: int, survival: float = 1.0) -> "Join":
    """The join of a skip connection: called with the branch's output and what was skipped.

    Both are of one shape; but for dense connections, where only the number of features may differ.

    Args:
        settings: which connection.
        features: C of what was skipped.
        dims: 1 for signals (N, C) or (N, T, C), 2 for images (N, C, H, W).
        survival: probability that a sample's branch is kept in training (`dropout.survival`); 1 drops none.
    """
    return CONNECTIONS.of(settings)(settings, features, dims=dims, survival=survival)


def joined_features(settings: Connection | None, skipped: int, branch: int) -> int:
    """Features that leave a block whose branch puts out `branch` of them, beside `skipped` ones."""
    return branch if settings is None or settings.keeps_width else skipped + branch


class Join(nn.Module, ABC):
    """Joins a branch with what it skips. In training it first drops the branches of some samples, where asked to.

    Attributes:
        survival: probability that a sample's branch is kept.
        stochastic: whether it draws; `gyrostat.probes.undisturbed` switches it off then.
    """

    def __init__(self, settings: Connection, features: int, *, dims: int, survival: float = 1.0) -> None:
        super().__init__()
        self.survival = survival
        self.stochastic = survival < 1

    def forward(self, branch: Tensor, skipped: Tensor) -> Tensor:
        """What leaves the block."""
        if self.stochastic and self.training:
            branch = dropout.stochastic_depth(branch, self.survival)
        return self.joined(branch, skipped)

    def joined(self, branch: Tensor, skipped: Tensor) -> Tensor:
        """Both together: the maths of the connection."""
        return torch.add(*self.summands(branch, skipped))

    @abstractmethod
    def summands(self, branch: Tensor, skipped: Tensor) -> tuple[Tensor, Tensor]:
        """What each of both brings into the output.

        It is by this method that probes know of branch and trunk (`gyrostat.probes.network.BranchJoin`).
        """

    def log_joined(self, branch: Tensor, skipped: Tensor) -> Tensor:
        """Logarithm of a Lipschitz constant of the whole, from those of the branch and of what it skips.

        Infinite, unless a connection says better (`gyrostat.probes.lipschitz`).
        """
        return torch.full_like(branch, math.inf)


@CONNECTIONS.implements(Residual)
class Sum(Join):
    """y = F(x) + x (He et al. 2015, arXiv 1512.03385, eq. 1)."""

    def summands(self, branch: Tensor, skipped: Tensor) -> tuple[Tensor, Tensor]:
        """Both as they are."""
        return branch, skipped

    def log_joined(self, branch: Tensor, skipped: Tensor) -> Tensor:
        """Of a sum at most the sum."""
        return torch.logaddexp(branch, skipped)


@CONNECTIONS.implements(Highway)
class Gate(Join):
    """y = H·T + x·(1 − T), T = σ(W·x + b) of what was skipped (Srivastava et al. 2015, arXiv 1505.00387, eq. 3).

    It is no `nn.Linear`: laws of initialization leave it its negative bias, on which its start near the identity rests.
    """

    def __init__(self, settings: Highway, features: int, *, dims: int, survival: float = 1.0) -> None:
        super().__init__(settings, features, dims=dims, survival=survival)
        self.weight = nn.Parameter(torch.empty(features, features, *(1,) * (2 * (dims == 2))))
        self.bias = nn.Parameter(torch.full((features,), settings.gate_bias))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # torch's own start of linear layers and convolutions

    def gate(self, skipped: Tensor) -> Tensor:
        """T, in (0, 1), of the shape of `skipped`."""
        weigh = functional.linear if self.weight.ndim == 2 else functional.conv2d
        return torch.sigmoid(weigh(skipped, self.weight, self.bias))

    def summands(self, branch: Tensor, skipped: Tensor) -> tuple[Tensor, Tensor]:
        """Each feature between what was skipped (T = 0) and the branch (T = 1)."""
        gate = self.gate(skipped)
        return branch * gate, skipped * (1 - gate)


@CONNECTIONS.implements(Dense)
class Concatenation(Join):
    """[x, H(x)]: with x what came out of the last join, all earlier features (Huang et al. 2016, arXiv 1608.06993)."""

    def __init__(self, settings: Dense, features: int, *, dims: int, survival: float = 1.0) -> None:
        super().__init__(settings, features, dims=dims, survival=survival)
        self._axis = -1 if dims == 1 else -3

    def joined(self, branch: Tensor, skipped: Tensor) -> Tensor:
        """Both side by side, what was skipped first."""
        return torch.cat((skipped, branch), self._axis)

    def summands(self, branch: Tensor, skipped: Tensor) -> tuple[Tensor, Tensor]:
        """Both as they are."""
        return branch, skipped

    def log_joined(self, branch: Tensor, skipped: Tensor) -> Tensor:
        """Side by side squares add up."""
        return torch.logaddexp(2 * branch, 2 * skipped) / 2


class ScaledSum(Join):
    """y = x + γ·F(x), γ learnt."""

    scale: nn.Parameter

    def summands(self, branch: Tensor, skipped: Tensor) -> tuple[Tensor, Tensor]:
        """The scaled branch, and what was skipped."""
        return self.scale * branch, skipped

    def log_joined(self, branch: Tensor, skipped: Tensor) -> Tensor:
        """As of a sum, of the branch times the largest |γ|."""
        return torch.logaddexp(branch + self.scale.detach().abs().max().to(branch).log(), skipped)


@CONNECTIONS.implements(ReZero)
class ReZeroSum(ScaledSum):
    """One γ, 0 at the start (Bachlechner et al. 2020, arXiv 2003.04887, eq. 1).

    At the very start only γ has a gradient, the branch none: it comes with the first step.
    """

    def __init__(self, settings: ReZero, features: int, *, dims: int, survival: float = 1.0) -> None:
        super().__init__(settings, features, dims=dims, survival=survival)
        self.scale = nn.Parameter(torch.zeros(1))


@CONNECTIONS.implements(LayerScale)
class LayerScaledSum(ScaledSum):
    """A γ for each feature, small at the start (Touvron et al. 2021, arXiv 2103.17239, eq. 3)."""

    def __init__(self, settings: LayerScale, features: int, *, dims: int, survival: float = 1.0) -> None:
        super().__init__(settings, features, dims=dims, survival=survival)
        self.scale = nn.Parameter(torch.full((features, *(1,) * (2 * (dims == 2))), settings.start))


class Block(nn.Module):
    """A branch of named parts, joined with its own input, then the parts that follow the join.

    The parts are children of the block itself, in the order in which they run, so that their names read
    `blocks.1.conv2`. Parts that do nothing (`nn.Identity`) are left out. A part that says `conditional = True` is also
    given the condition that the block is called with.

    Args:
        branch: from the block's input to the join.
        after: from the join to the block's output.
        connection: None for a plain stack: the join is left out, and `shortcut` with it.
        features: C of what the join skips, after the shortcut.
        dims: 1 for signals (N, C) or (N, T, C), 2 for images (N, C, H, W).
        shortcut: brings the input to the branch's shape where that differs; None for the input as it is.
        survival: probability that a sample's branch is kept in training.
    """

    def __init__(
        self,
        branch: Mapping[str, nn.Module],
        after: Mapping[str, nn.Module],
        *,
        connection: Connection | None,
        features: int,
        dims: int,
        shortcut: nn.Module | None = None,
        survival: float = 1.0,
    ) -> None:
        super().__init__()
        self._branch = self._add_parts(branch)
        self.shortcut = shortcut if connection is not None else None
        self.connection = None if connection is None else build(connection, features, dims=dims, survival=survival)
        self._after = self._add_parts(after)

    def _add_parts(self, parts: Mapping[str, nn.Module]) -> tuple[str, ...]:
        real = {name: part for name, part in parts.items() if not isinstance(part, nn.Identity)}
        for name, part in real.items():
            self.add_module(name, part)
        return tuple(real)

    def branches(self) -> Iterator[list[nn.Module]]:
        """The parts of its branch in the order in which they run, where it is joined with what it skips.

        Whatever joins branches has such a method, one list for each join: by it `initialization.branch_ends` finds what
        to zero so that branches start at zero.
        """
        if self.connection is not None:
            yield [getattr(self, name) for name in self._branch]

    def log_lipschitz(self, of: LogOf) -> Tensor:
        """Logarithm of a Lipschitz constant, from those `of` its parts."""

        def along(names: tuple[str, ...]) -> list[Tensor]:
            return [of(getattr(self, name)) for name in names]

        start = torch.zeros((), dtype=torch.float64)
        whole = sum(along(self._branch), start=start)
        if self.connection is not None:
            whole = self.connection.log_joined(whole, start if self.shortcut is None else of(self.shortcut))
        return sum(along(self._after), start=whole)

    def _through(self, names: tuple[str, ...], signal: Tensor, condition: Tensor | None) -> Tensor:
        for name in names:
            part = getattr(self, name)
            signal = part(signal, condition) if getattr(part, "conditional", False) else part(signal)
        return signal

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """after(join(branch(x), shortcut(x)))."""
        joined = self._through(self._branch, x, condition)
        if self.connection is not None:
            joined = self.connection(joined, x if self.shortcut is None else self.shortcut(x))
        return self._through(self._after, joined, condition)
