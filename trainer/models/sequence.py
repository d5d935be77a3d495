"""Named parts in a row."""

from collections import OrderedDict

from torch import nn


def sequence(**parts: nn.Module) -> nn.Sequential:
    """The parts under their names, in order, without those that do nothing (`nn.Identity`)."""
    return nn.Sequential(OrderedDict((name, part) for name, part in parts.items() if not isinstance(part, nn.Identity)))
