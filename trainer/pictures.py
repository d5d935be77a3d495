"""Samples as small pictures: images side by side, points of the plane as dots."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

MAX_VALUES = 45_000
"""Of a picture: so many that even noise, which nothing compresses, stays below the largest PNG that is sent."""
MAX_COLUMNS = 6
SIDE = 200
"""Pixels of a scatter picture."""
GREY, ACCENT = (128, 128, 128, 110), (226, 106, 44, 255)
"""RGBA of data and of samples: to be told apart on a light and on a dark page, since the background is transparent."""


def columns_for(shape: tuple[int, ...]) -> int:
    """How many images of (channels, height, width) a side of the grid holds."""
    return max(1, min(MAX_COLUMNS, math.isqrt(MAX_VALUES // max(1, math.prod(shape)))))


def grid(images: Tensor) -> NDArray[np.uint8]:
    """(N, C, H, W) of -1 to 1, N a square number, as rows of images with a pixel between: (h, w) or (h, w, 3).

    Of other than 1 or 3 channels the first is shown; what is too large for a picture is averaged down.
    """
    images = images.detach().float().cpu()
    images = images if images.shape[1] == 3 else images[:, :1]
    while images.numel() > MAX_VALUES:
        images = functional.avg_pool2d(images, 2, ceil_mode=True)
    columns = math.isqrt(len(images))
    padded = functional.pad(images.nan_to_num(-1.0, 1.0, -1.0).clamp(-1, 1), (0, 1, 0, 1))
    _, channels, height, width = padded.shape
    tiles = padded.reshape(columns, columns, channels, height, width).permute(0, 3, 1, 4, 2)
    whole = tiles.reshape(columns * height, columns * width, channels)[:-1, :-1]
    pixels: NDArray[np.uint8] = ((whole + 1) * 127.5).round().to(torch.uint8).numpy()
    return pixels[..., 0] if channels == 1 else pixels


def scatter(samples: Tensor, data: Tensor) -> NDArray[np.uint8]:
    """Points (N, D) over points (M, D) of data, their first two coordinates, -1.25 to 1.25: (SIDE, SIDE, 4), RGBA."""
    picture = np.zeros((SIDE, SIDE, 4), np.uint8)
    for points, colour, radius in ((data, GREY, 1), (samples, ACCENT, 1)):
        flat = points.detach().float().cpu().flatten(1)
        x, y = flat[:, 0], flat[:, 1] if flat.shape[1] > 1 else torch.zeros(len(flat))
        inside = (x.abs() < 1.25) & (y.abs() < 1.25)
        column = ((x[inside] + 1.25) / 2.5 * SIDE).long().numpy()
        row = ((1.25 - y[inside]) / 2.5 * SIDE).long().numpy()
        for down in range(radius + 1):
            for right in range(radius + 1):
                picture[np.minimum(row + down, SIDE - 1), np.minimum(column + right, SIDE - 1)] = colour
    return picture
