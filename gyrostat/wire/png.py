"""Small pictures as PNG (RFC 2083, ISO/IEC 15948): written plainly, and checked before they are kept.

Only what samples of a training need: 8 bits a channel, no interlacing, every row unfiltered.
"""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 48 << 10
"""Of one picture: 64 KiB as base64, the longest text that the stream lets through uncut."""
MAX_SIDE = 1024
"""Pixels of width or height, so that no small file unpacks to a huge picture."""

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}
"""Channels -> PNG's number for grey, RGB, RGBA."""


def encode(picture: NDArray[np.uint8]) -> bytes:
    """(height, width) grey, or (height, width, 3 or 4) RGB or RGBA, 0 to 255.

    Raises:
        ValueError: another shape or type, a side above `MAX_SIDE`, or a file above `MAX_BYTES`.
    """
    pixels = np.ascontiguousarray(picture[..., None] if picture.ndim == 2 else picture)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in _COLOUR_TYPES:
        raise ValueError(f"a picture is uint8 of (height, width[, 3 or 4]), got {picture.dtype} of {picture.shape}")
    height, width, channels = pixels.shape
    _check_sides(width, height)
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each row starts with its filter: 0, none
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    pixels_packed = zlib.compress(rows.tobytes(), 9)
    made = SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels_packed) + _chunk(b"IEND", b"")
    if len(made) > MAX_BYTES:
        raise ValueError(f"the picture has {len(made)} bytes, at most {MAX_BYTES} are sent; make it smaller")
    return made


def size_of(data: bytes) -> tuple[int, int]:
    """(width, height) of a PNG whose chunks are whole, from the header to the end.

    The pixels are not unpacked: that is left to the browser's own decoder, which the bounds here keep from much work.

    Raises:
        ValueError: it is no PNG, is damaged, or is too large in bytes or pixels.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"the picture has {len(data)} bytes, at most {MAX_BYTES} are kept")
    if not data.startswith(SIGNATURE):
        raise ValueError("it does not start as a PNG does")
    place = len(SIGNATURE)
    kinds: list[bytes] = []
    while place < len(data) and (not kinds or kinds[-1] != b"IEND"):
        if len(data) < place + 12:
            raise ValueError("a chunk of it is cut off")
        (length,) = struct.unpack_from(">I", data, place)
        kind, end = data[place + 4 : place + 8], place + 12 + length
        if end > len(data) or zlib.crc32(data[place + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise ValueError("a chunk of it is cut off or damaged")
        kinds.append(kind)
        place = end
    if kinds[:1] != [b"IHDR"] or kinds[-1:] != [b"IEND"] or b"IDAT" not in kinds or place != len(data):
        raise ValueError("it lacks a header, pixels or an end, or something follows its end")
    (header_length,) = struct.unpack_from(">I", data, len(SIGNATURE))
    if header_length != 13:
        raise ValueError("its header has another length than 13 bytes")
    width, height = struct.unpack_from(">II", data, len(SIGNATURE) + 8)
    _check_sides(width, height)
    return width, height


def _check_sides(width: int, height: int) -> None:
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise ValueError(f"the picture is {width} x {height}, each side must have 1 to {MAX_SIDE} pixels")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
