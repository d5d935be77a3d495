"""Folders of images of the user's own: a sub-folder for each class, or images with masks."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from gyrostat.spec.files import ImageFiles, ImageFolder, MaskFolder
from trainer.data.own_files import bounded, confined, data_root_present, needed, own_folder
from trainer.data.samples import DataError, Labelled
from trainer.data.sources import PRESENCE, SOURCES

PRESENCE.implements(ImageFolder)(data_root_present)
PRESENCE.implements(MaskFolder)(data_root_present)

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".webp": "WEBP"}
"""What is read, by the ending of a file's name; other files are passed over."""

LIMIT_PIXELS = 50_000_000
"""Of one image as its file has it; a few bytes can claim many more."""


@SOURCES.implements(ImageFolder)
def image_folder(settings: ImageFolder, data_root: Path | None) -> Labelled:
    """Images (N, C, size, size) uint8; classes are the sub-folders with images, in alphabetical order."""
    root = own_folder(settings.path, data_root)
    folders = {folder.name: _files(folder) for folder in sorted(root.iterdir()) if folder.is_dir()}
    classes = [name for name, files in folders.items() if files]
    if len(classes) < 2:
        raise DataError(
            f"folder {settings.path!r} has {len(classes)} sub-folders with images ({', '.join(FORMATS)}); "
            "put the images of each class into a sub-folder of its own, two at least"
        )
    files = [(file, number) for number, name in enumerate(classes) for file in folders[name]]
    images = _stacked([file for file, _ in files], settings, data_root, _pixels)
    return Labelled(images, torch.tensor([number for _, number in files]), outputs=len(classes))


@SOURCES.implements(MaskFolder)
def mask_folder(settings: MaskFolder, data_root: Path | None) -> Labelled:
    """Images (N, C, size, size) uint8 and masks (N, size, size) of the classes that their pixels name."""
    root = own_folder(settings.path, data_root)
    for part in ("images", "masks"):
        own_folder(f"{settings.path}/{part}", data_root)
    images = _files(root / "images")
    masks = {file.stem: file for file in _files(root / "masks")}
    for file in images:
        if file.stem not in masks:
            raise DataError(f"image {file.name!r} in {settings.path!r} has no mask of its name in 'masks'; add it")
    if not images:
        raise DataError(f"folder {settings.path + '/images'!r} has no images ({', '.join(FORMATS)}); add some")
    targets = _stacked([masks[file.stem] for file in images], settings, data_root, _classes).squeeze(1).long()
    return Labelled(_stacked(images, settings, data_root, _pixels), targets, outputs=int(targets.max()) + 1)


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in FORMATS and file.is_file())


def _stacked(
    files: list[Path], settings: ImageFiles, data_root: Path | None, read: Callable[[Any, ImageFiles], Any]
) -> Tensor:
    bounded(4 * len(files) * settings.channels * settings.size**2, settings.path)
    return torch.from_numpy(numpy.stack([_opened(file, settings, data_root, read) for file in files]))


def _opened(file: Path, settings: ImageFiles, data_root: Path | None, read: Callable[[Any, ImageFiles], Any]) -> Any:
    """(C, size, size) uint8 of one file, which is looked at before any of its pixels are decoded."""
    assert data_root is not None
    image_module = needed("PIL.Image", "a folder of images")
    path = confined(str(file.relative_to(data_root.resolve())), data_root)
    try:
        with warnings.catch_warnings():
            # Pillow only warns of the images that are refused here
            warnings.simplefilter("ignore", image_module.DecompressionBombWarning)
            with image_module.open(path, formats=(FORMATS[file.suffix.lower()],)) as image:
                width, height = image.size
                if width * height > LIMIT_PIXELS:
                    raise DataError(
                        f"image {file.name!r} has {width} x {height} pixels; at most {LIMIT_PIXELS:,} are read: make "
                        "it smaller"
                    )
                return read(image, settings)
    except (OSError, SyntaxError, ValueError, image_module.DecompressionBombError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"image {file.name!r} in {settings.path!r} cannot be read ({error}); save it anew") from None


def _pixels(image: Any, settings: ImageFiles) -> Any:
    converted = image.convert("RGB" if settings.channels == 3 else "L")
    pixels = numpy.asarray(converted.resize((settings.size, settings.size)))
    return pixels[None] if settings.channels == 1 else pixels.transpose(2, 0, 1)


def _classes(image: Any, settings: ImageFiles) -> Any:
    if image.mode not in ("L", "P", "1"):
        raise DataError(
            f"mask {Path(str(image.filename)).name!r} is of Pillow's mode {image.mode!r}; save it as 8-bit grey or "
            "palette image whose pixels are class numbers"
        )
    # the nearest pixel, since the mean of two classes is neither
    return numpy.asarray(image.resize((settings.size, settings.size), resample=0)).astype(numpy.uint8)[None]
