"""Normalization layers (brief section 1)."""

from torch import nn

from gyrostat.spec.normalization import BatchNorm, GroupNorm, LayerNorm, Norm
from trainer.stabilizers.registry import Registry

NORMS: Registry[nn.Module] = Registry("norm")


def build(settings: Norm | None, features: int, *, dims: int) -> nn.Module:
    """A normalization layer over `features` channels C, or the identity for None.

    `dims` is 1 for inputs (N, C) or, layer normalization only, (N, T, C), and 2 for images (N, C, H, W).
    """
    return nn.Identity() if settings is None else NORMS.of(settings)(settings, features, dims)


def cancels_bias(settings: Norm | None) -> bool:
    """Whether a bias before the layer has no effect, since the mean of each channel over the batch is subtracted."""
    return isinstance(settings, BatchNorm)


@NORMS.implements(BatchNorm)
def _batch(settings: BatchNorm, features: int, dims: int) -> nn.Module:
    kind = nn.BatchNorm1d if dims == 1 else nn.BatchNorm2d
    return kind(features, eps=settings.eps, momentum=settings.momentum)


@NORMS.implements(LayerNorm)
def _layer(settings: LayerNorm, features: int, dims: int) -> nn.Module:
    # On images, per sample over C, H and W with one gain per channel: group normalization with a single group.
    return nn.LayerNorm(features, eps=settings.eps) if dims == 1 else nn.GroupNorm(1, features, eps=settings.eps)


@NORMS.implements(GroupNorm)
def _group(settings: GroupNorm, features: int, dims: int) -> nn.Module:
    return nn.GroupNorm(settings.groups, features, eps=settings.eps)
