"""The feature pyramid network (Lin et al. 2017, arXiv 1612.03144)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from gyrostat.probes.lipschitz import LogOf
from gyrostat.spec.architectures import Fpn
from gyrostat.spec.regularization import Regularization
from trainer.models.blocks import Blocks
from trainer.models.registry import MODELS
from trainer.models.sequence import sequence
from trainer.models.stages import units


class FeaturePyramid(nn.Module):
    """A residual net on the way down; its levels, brought to one width, on the way up; an answer for each pixel.

    Level s has 1/2^s of the image's height and width, rounded up. The answer is made of all levels, each enlarged to
    the image's size and added up (Kirillov et al. 2019, arXiv 1901.02446, section 3.1).
    """

    def __init__(self, settings: Fpn, regularization: Regularization, channels: int, outputs: int) -> None:
        super().__init__()
        width = settings.hidden
        blocks = Blocks(settings.norm, settings.activation, settings.connection, regularization, number=settings.depth)
        plan = units(settings.depth, width, settings.stages, width)
        self.stem = blocks.stem(channels, width)
        self.stages = nn.ModuleList(blocks.stage(row) for row in plan)
        self.laterals = nn.ModuleList(_lateral(blocks, row[-1].channels, width) for row in plan)
        self.smooth = nn.ModuleList(sequence(conv=blocks.conv(width, width)) for _ in plan)
        self.final = sequence(**blocks.head(width))
        self.output = nn.Conv2d(width, outputs, 1)

    def log_lipschitz(self, of: LogOf) -> Tensor:
        """Not known: its paths run side by side."""
        return torch.tensor(math.inf)

    def levels(self, x: Tensor) -> list[Tensor]:
        """(N, C, H, W) to the levels of the pyramid, finest first: (N, width, ⌈H/2^s⌉, ⌈W/2^s⌉)."""
        x = self.stem(x)
        bottom_up = []
        for stage in self.stages:
            x = stage(x)
            bottom_up.append(x)
        merged = [lateral(level) for lateral, level in zip(self.laterals, bottom_up, strict=True)]
        for finer in range(len(merged) - 2, -1, -1):
            # to the finer level's own size: twice a coarser one's, or one less
            merged[finer] = merged[finer] + functional.interpolate(merged[finer + 1], size=merged[finer].shape[-2:])
        return [smooth(level) for smooth, level in zip(self.smooth, merged, strict=True)]

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, outputs, H, W)."""
        finest, *coarser = self.levels(x)
        for level in coarser:
            finest = finest + functional.interpolate(
                level, size=finest.shape[-2:], mode="bilinear", align_corners=False
            )
        answers: Tensor = self.output(self.final(finest))
        return answers


def _lateral(blocks: Blocks, channels: int, width: int) -> nn.Module:
    # with pre placement a stage puts out a bare sum, which needs its norm and activation first
    head = blocks.head(channels) if blocks.pre else {}
    return sequence(**head, conv=blocks.conv(channels, width, kernel=1))


@MODELS.implements(Fpn)
def _fpn(settings: Fpn, regularization: Regularization, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    return FeaturePyramid(settings, regularization, input_shape[0], outputs)
