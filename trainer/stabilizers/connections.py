"""Skip connections: how a block's branch is joined with what it skips (brief section 2)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gyrostat.spec.connections import Connection, Residual
from trainer.stabilizers.registry import Registry

CONNECTIONS: Registry[nn.Module] = Registry("connection")


def build(settings: Connection) -> nn.Module:
    """The join of a skip connection: called with the branch's output and what was skipped, both of one shape."""
    return CONNECTIONS.of(settings)()


@CONNECTIONS.implements(Residual)
class Sum(nn.Module):
    """y = F(x) + x (He et al. 2015, arXiv 1512.03385, eq. 1)."""

    def forward(self, branch: Tensor, skipped: Tensor) -> Tensor:
        """The sum of both."""
        return torch.add(branch, skipped)


class Block(nn.Module):
    """A branch of named parts, joined with its own input, then the parts that follow the join.

    The parts are children of the block itself, in the order in which they run, so that their names read
    `blocks.1.conv2`. Parts that do nothing (`nn.Identity`) are left out.

    Args:
        branch: from the block's input to the join.
        after: from the join to the block's output.
        connection: None for a plain stack: the join is left out, and `shortcut` with it.
        shortcut: brings the input to the branch's shape where that differs; None for the input as it is.
    """

    def __init__(
        self,
        branch: Mapping[str, nn.Module],
        after: Mapping[str, nn.Module],
        *,
        connection: Connection | None,
        shortcut: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self._branch = self._add_parts(branch)
        self.shortcut = shortcut if connection is not None else None
        self.connection = None if connection is None else build(connection)
        self._after = self._add_parts(after)

    def _add_parts(self, parts: Mapping[str, nn.Module]) -> tuple[str, ...]:
        real = {name: part for name, part in parts.items() if not isinstance(part, nn.Identity)}
        for name, part in real.items():
            self.add_module(name, part)
        return tuple(real)

    def _through(self, names: tuple[str, ...], signal: Tensor) -> Tensor:
        for name in names:
            signal = getattr(self, name)(signal)
        return signal

    def forward(self, x: Tensor) -> Tensor:
        """after(join(branch(x), shortcut(x)))."""
        joined = self._through(self._branch, x)
        if self.connection is not None:
            joined = self.connection(joined, x if self.shortcut is None else self.shortcut(x))
        return self._through(self._after, joined)
