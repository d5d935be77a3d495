"""Data augmentation of whole batches on their device, through kornia (brief section 5).

Tensors: images (N, C, H, W) float, masks (N, H, W) int64, a range of pixel values as two (C, 1, 1).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gyrostat.spec.augmentation import (
    Affine,
    AnyAugmentation,
    Augmentation,
    ColourJitter,
    Crop,
    Flip,
    NoiseAugmentation,
)
from trainer.stabilizers.registry import Registry

AUGMENTATIONS: Registry[nn.Module] = Registry("augmentation")
"""Each is called with (settings, (H, W)) and makes a kornia augmentation that changes every sample of a batch."""


@dataclass(frozen=True)
class ValueRange:
    """What pixel values stand for black and for full brightness in each channel; (C, 1, 1) both."""

    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, images: Tensor) -> "ValueRange":
        """The smallest and the largest value of each channel of `images`."""
        return cls(images.amin((0, 2, 3)).view(-1, 1, 1), images.amax((0, 2, 3)).view(-1, 1, 1))

    def to_unit(self, images: Tensor) -> Tensor:
        """To [0, 1]; a channel of one value only to 0."""
        return (images - self.low) / self._span()

    def from_unit(self, images: Tensor) -> Tensor:
        """Back from [0, 1]."""
        return images * self._span() + self.low

    def _span(self) -> Tensor:
        span = self.high - self.low
        return torch.where(span > 0, span, 1.0)


class Augmentations:
    """A list of augmentations, made once for images of one size.

    Args:
        settings: in the order in which they act. values: what the images' pixels range over.
    """

    def __init__(self, settings: Sequence[AnyAugmentation], size: tuple[int, int], values: ValueRange) -> None:
        self._parts: list[tuple[Augmentation, nn.Module]] = [
            (each, AUGMENTATIONS.of(each)(each, size)) for each in settings
        ]
        self._values = values

    def __call__(self, images: Tensor, masks: Tensor | None, source: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """The images, and the masks moved as they were; a pure function of the arguments and of `source`'s seed.

        Every sample is changed by each augmentation with its own probability. Masks take the nearest pixel's class, and
        what comes into view from outside continues the border, of image and mask alike.
        """
        for settings, change in self._parts:
            chosen = torch.rand(len(images), generator=source) < settings.probability
            seed = int(torch.randint(2**31, (), generator=source))
            if not chosen.any():
                continue
            changed, moved = self._changed(settings, change, images, masks, seed)
            where = chosen.to(images.device).view(-1, 1, 1, 1)
            images = torch.where(where, changed, images)
            masks = masks if masks is None or moved is None else torch.where(where[:, 0], moved, masks)
        return images, masks

    def _changed(
        self, settings: Augmentation, change: nn.Module, images: Tensor, masks: Tensor | None, seed: int
    ) -> tuple[Tensor, Tensor | None]:
        with torch.no_grad(), _global_generators(seed, images.device):
            if isinstance(settings, ColourJitter):
                # defined on [0, 1] only: kornia clamps what lies outside, and standardized images do
                return self._values.from_unit(change(self._values.to_unit(images))), masks
            if masks is None or isinstance(settings, NoiseAugmentation):
                return change(images), masks
            changed, moved = _with_masks(change)(images, masks.unsqueeze(1).to(images.dtype))
            return changed, moved.squeeze(1).round().to(masks.dtype)


def _with_masks(change: nn.Module) -> nn.Module:
    from kornia.augmentation import AugmentationSequential
    from kornia.constants import DataKey, Resample

    nearest = {DataKey.MASK: {"resample": Resample.NEAREST, "align_corners": False}}
    augmentation: Any = change
    sequential: nn.Module = AugmentationSequential(augmentation, data_keys=["input", "mask"], extra_args=nearest)
    return sequential


@contextmanager
def _global_generators(seed: int, device: torch.device) -> Iterator[None]:
    """Since kornia draws from the global generators: they are seeded meanwhile, and then as they were."""
    devices = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        # not torch.manual_seed, which would reseed accelerators that are not put back
        torch.default_generator.manual_seed(seed)
        for index in devices:
            torch.cuda.default_generators[index].manual_seed(seed)
        yield


# kornia is imported where it is needed: it is slow to load, and most trainings do without


@AUGMENTATIONS.implements(Affine)
def _affine(settings: Affine, size: tuple[int, int]) -> nn.Module:
    from kornia.augmentation import RandomAffine

    made: Any = RandomAffine(
        degrees=settings.degrees,
        translate=(settings.translate, settings.translate),
        scale=(1 - settings.scale, 1 + settings.scale),
        shear=settings.shear,
        padding_mode="border",
        p=1.0,
    )
    return _module(made)


@AUGMENTATIONS.implements(Flip)
def _flip(settings: Flip, size: tuple[int, int]) -> nn.Module:
    from kornia.augmentation import RandomHorizontalFlip, RandomVerticalFlip

    return _module((RandomHorizontalFlip if settings.direction == "horizontal" else RandomVerticalFlip)(p=1.0))


@AUGMENTATIONS.implements(Crop)
def _crop(settings: Crop, size: tuple[int, int]) -> nn.Module:
    from kornia.augmentation import RandomCrop

    height, width = (max(1, round(settings.padding * side)) for side in size)
    return _module(RandomCrop(size, padding=(width, height, width, height), padding_mode="replicate", p=1.0))


@AUGMENTATIONS.implements(ColourJitter)
def _colour_jitter(settings: ColourJitter, size: tuple[int, int]) -> nn.Module:
    from kornia.augmentation import ColorJitter

    return _module(ColorJitter(settings.brightness, settings.contrast, settings.saturation, settings.hue, p=1.0))


@AUGMENTATIONS.implements(NoiseAugmentation)
def _noise(settings: NoiseAugmentation, size: tuple[int, int]) -> nn.Module:
    from kornia.augmentation import RandomGaussianNoise

    return _module(RandomGaussianNoise(mean=0.0, std=settings.sigma, p=1.0))


def _module(made: Any) -> nn.Module:
    """Says to the type checker, which does not know kornia, what its classes are."""
    assert isinstance(made, nn.Module)
    return made
