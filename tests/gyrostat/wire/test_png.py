"""Small pictures: what is written, another program reads; what is no sound PNG is refused."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from gyrostat.wire import png


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 3), (1, 1, 4)])
def test_another_program_reads_the_same_pixels(shape: tuple[int, ...]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    data = png.encode(picture)
    assert png.size_of(data) == (shape[1], shape[0])
    with Image.open(io.BytesIO(data)) as read:
        assert np.array_equal(np.asarray(read), picture)


@pytest.mark.parametrize(
    "picture", [np.zeros((2, 2)), np.zeros((2, 2, 2), np.uint8), np.zeros(4, np.uint8), np.zeros((2, 1025), np.uint8)]
)
def test_what_is_no_small_picture_is_not_written(picture: np.ndarray) -> None:
    with pytest.raises(ValueError, match="picture"):
        png.encode(picture)


def test_a_picture_of_noise_above_the_limit_is_not_written() -> None:
    with pytest.raises(ValueError, match="at most"):
        png.encode(np.random.default_rng(0).integers(0, 256, (400, 400), dtype=np.uint8))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


SOUND = png.encode(np.zeros((4, 4), np.uint8))
HUGE = png.SIGNATURE + _chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 1, 8, 0, 0, 0, 0)) + _chunk(b"IDAT", b"")
SHORT_HEADER = png.SIGNATURE + _chunk(b"IHDR", b"\0\0") + _chunk(b"IDAT", b"") + _chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<svg onload='alert(1)'/>",
        png.SIGNATURE,
        SOUND[:-1],
        SOUND + b"<script>",
        SOUND[:20] + b"x" + SOUND[21:],
        HUGE + _chunk(b"IEND", b""),
        SHORT_HEADER,
        png.SIGNATURE + _chunk(b"IEND", b""),
        SOUND.ljust(png.MAX_BYTES + 1, b"\0"),
    ],
    ids=["empty", "svg", "bare", "cut", "followed", "damaged", "huge", "header", "no header", "long"],
)
def test_what_is_no_sound_png_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        png.size_of(data)
