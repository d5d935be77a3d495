"""Dropout and its relatives (brief section 4)."""

from torch import nn

from gyrostat.spec.dropout import Dropout, ElementDropout
from trainer.stabilizers.registry import Registry

DROPOUTS: Registry[nn.Module] = Registry("dropout")


def build(settings: Dropout | None, *, dims: int) -> nn.Module:
    """A dropout layer, or the identity for None. It draws from torch's global generator.

    `dims` is 1 for inputs (N, C) or (N, T, C), 2 for images (N, C, H, W).
    """
    return nn.Identity() if settings is None else DROPOUTS.of(settings)(settings, dims)


@DROPOUTS.implements(ElementDropout)
def _element(settings: ElementDropout, dims: int) -> nn.Module:
    return nn.Dropout(settings.rate)
