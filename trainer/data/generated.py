"""Generated data: rare classes, points around a ring of centres, and shapes with their masks."""

import math
from pathlib import Path

import torch
from torch import Tensor

from gyrostat.spec.data import Gaussians, Imbalanced, Shapes
from trainer.data.generators import generator
from trainer.data.samples import Labelled
from trainer.data.sources import SOURCES

RADIUS = 2.0
TOGETHER = 1000
"""Images made at once: more would take more memory and no less time."""

BACKGROUND, DISC, RECTANGLE, TRIANGLE = range(4)


@SOURCES.implements(Imbalanced)
def imbalanced(settings: Imbalanced, data_root: Path | None) -> Labelled:
    """Clusters of two classes in twenty dimensions, ten of which tell them apart."""
    from sklearn.datasets import make_classification  # as slow to load as torch, and most processes do without

    inputs, targets = make_classification(
        n_samples=settings.rows,
        n_features=20,
        n_informative=10,
        n_redundant=0,
        weights=[1 - settings.rare_fraction],
        flip_y=0.0,
        class_sep=settings.separation,
        random_state=settings.seed,
    )
    return Labelled(torch.from_numpy(inputs), torch.from_numpy(targets).long(), outputs=2)


@SOURCES.implements(Gaussians)
def gaussians(settings: Gaussians, data_root: Path | None) -> Labelled:
    """Points (rows, 2), the centres in turn."""
    targets = torch.arange(settings.rows) % settings.modes
    angle = 2 * math.pi * targets / settings.modes
    centres = RADIUS * torch.stack((angle.cos(), angle.sin()), dim=1)
    noise = torch.randn(settings.rows, 2, generator=generator(settings.seed, "gaussians"))
    return Labelled(centres + settings.spread * noise, targets, outputs=settings.modes)


@SOURCES.implements(Shapes)
def shapes(settings: Shapes, data_root: Path | None) -> Labelled:
    """Images (rows, channels, size, size) and masks (rows, size, size) of the four classes.

    Every image draws `objects` shapes, and shows between one and all of them, so that many images are made at once.
    """
    starts = range(0, settings.rows, TOGETHER)
    made = [_images(settings, min(TOGETHER, settings.rows - start), start) for start in starts]
    images, masks = (torch.cat(parts) for parts in zip(*made, strict=True))
    return Labelled(images, masks, outputs=TRIANGLE + 1)


def _images(settings: Shapes, rows: int, start: int) -> tuple[Tensor, Tensor]:
    source, size = generator(settings.seed, "shapes", start), settings.size
    images = torch.zeros(rows, settings.channels, size, size)
    masks = torch.full((rows, size, size), BACKGROUND)
    shown = torch.randint(1, settings.objects + 1, (rows,), generator=source)
    for number in range(settings.objects):
        kind = torch.randint(DISC, TRIANGLE + 1, (rows,), generator=source)
        brightness = 0.5 + 0.5 * torch.rand(rows, settings.channels, 1, 1, generator=source)
        inside = _inside(kind, size, source) & (number < shown).view(-1, 1, 1)
        images = torch.where(inside.unsqueeze(1), brightness, images)
        masks = torch.where(inside, kind.view(-1, 1, 1), masks)
    noise = torch.randn(images.shape, generator=source)
    return images + settings.noise * noise, masks


def _inside(kind: Tensor, size: int, source: torch.Generator) -> Tensor:
    """(N, size, size): the pixels of one shape of each image, of kind (N,), all at places and of sizes of their own.

    With u, v the distances of a pixel's middle from the shape's, over half its width and height: a disc is u² + v² ≤ 1,
    of equal width and height; a rectangle |u|, |v| ≤ 1; a triangle, its tip above, |u| ≤ (v + 1)/2 ≤ 1.
    """

    def drawn(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(len(kind), 1, 1, generator=source)

    # sizes are drawn evenly in their logarithm: as many small shapes as large ones
    width = size * torch.exp2(drawn(-3, -1))
    height = torch.where(kind.view(-1, 1, 1) == DISC, width, width * drawn(0.6, 1))
    middle = torch.arange(size) + 0.5
    u = (middle.view(1, 1, -1) - width / 2 - drawn(0, 1) * (size - width)) / (width / 2)
    v = (middle.view(1, -1, 1) - height / 2 - drawn(0, 1) * (size - height)) / (height / 2)
    of_kind = {
        DISC: u.square() + v.square() <= 1,
        RECTANGLE: (u.abs() <= 1) & (v.abs() <= 1),
        TRIANGLE: (u.abs() <= (v + 1) / 2) & (v.abs() <= 1),
    }
    inside = torch.zeros(len(kind), size, size, dtype=torch.bool)
    for each, pixels in of_kind.items():
        inside |= pixels & (kind == each).view(-1, 1, 1)
    return inside
