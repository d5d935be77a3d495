"""Where each normalization layer can stand: its channels, its pixels, and who may see whom."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from gyrostat.spec.architectures import DenseNet, Transformer
from gyrostat.spec.checks.problem import Problem, nearest_divisor
from gyrostat.spec.normalization import BatchNorm, GroupNorm, InstanceNorm, Norm, RmsNorm
from gyrostat.spec.run import RunSpec


def problems(spec: RunSpec) -> Iterator[Problem]:
    """Norms that the model has no place for, and those that would erase what comes in."""
    norm = spec.model.norm
    if norm is None:
        return
    sites = list(_sites(spec))
    if isinstance(spec.model, Transformer):
        if isinstance(norm, BatchNorm | GroupNorm | InstanceNorm):
            yield Problem(
                path="model.norm.kind",
                value=norm.kind,
                message=f"{norm.kind} normalization mixes positions a decoder must not see, or needs channels",
                mend="use 'layer' or 'rms', or null",
            )
    elif isinstance(norm, InstanceNorm) and not spec.model.images:
        yield Problem(
            path="model.norm.kind",
            value=norm.kind,
            message=f"instance normalization is over the pixels of an image, and model {spec.model.kind!r} has none",
            mend="'layer' or 'rms', or a convolutional model",
        )
    elif isinstance(norm, GroupNorm) and any(site.channels % norm.groups for site in sites):
        yield _indivisible(norm, sites)
    elif not isinstance(norm, BatchNorm):
        yield from _erased(norm, sites)


class _Site(NamedTuple):
    """Feature maps that a norm stands behind; a table's units have one pixel each."""

    channels: int
    pixels: int


def _indivisible(norm: GroupNorm, sites: list[_Site]) -> Problem:
    channels = next(site.channels for site in sites if site.channels % norm.groups)
    common = math.gcd(*(site.channels for site in sites))
    others = f", and all widths of this model have {common} in common" if common != channels else ""
    return Problem(
        path="model.norm.groups",
        value=norm.groups,
        message=f"group norm with {norm.groups} groups on {channels} channels: groups must divide channels{others}",
        mend=f"{nearest_divisor(common, norm.groups)} is nearest",
    )


def _sites(spec: RunSpec) -> Iterator[_Site]:
    """The different sizes of feature maps. Where the user's own file decides the image's, it is taken for large."""
    model, shape = spec.model, spec.task.dataset.sample_shape()
    stages: int = getattr(model, "stages", 0)
    if not stages:
        yield _Site(model.hidden, 1)
    height, width = shape[1:] if shape is not None and len(shape) == 3 else (2**stages, 2**stages)
    for stage in range(stages):
        row = model.channels()[stage] if isinstance(model, DenseNet) else [model.hidden * 2**stage]
        for channels in sorted(set(row)):
            # what halves an image rounds up
            yield _Site(channels, -(-height // 2**stage) * -(-width // 2**stage))


def _erased(norm: Norm, sites: list[_Site]) -> Iterator[Problem]:
    """A single value, less its mean and divided by its size, says nothing any more (and torch refuses some of it)."""
    for channels, pixels in sites:
        if isinstance(norm, InstanceNorm):
            values = pixels
        elif isinstance(norm, GroupNorm):
            values = channels // norm.groups * pixels
        else:
            values = channels if isinstance(norm, RmsNorm) else channels * pixels
        if values == 1:
            groups = f" with {norm.groups} groups" if isinstance(norm, GroupNorm) else ""
            place = "of a single pixel each" if len(sites) > 1 or isinstance(norm, InstanceNorm) else "(model.width)"
            yield Problem(
                path="model.norm.kind",
                value=norm.kind,
                message=f"{norm.kind} normalization{groups} on {channels} channels {place} would be over one value, "
                "of which it leaves nothing",
                mend="fewer model.stages, a larger model.width, fewer groups, or norm 'batch'",
            )
            return
