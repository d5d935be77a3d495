"""28 x 28 images of clothes (Xiao et al. 2017), where Debian's package dataset-fashion-mnist put them."""

import gzip
import struct
from pathlib import Path

import numpy
import torch
from numpy.typing import NDArray

from gyrostat.spec.data import FashionMnist
from trainer.data.samples import DataError, Labelled
from trainer.data.sources import PRESENCE, SOURCES

FOLDER = Path("/usr/share/datasets/fashion-mnist")
IMAGES = ("train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz")
LABELS = ("train-labels-idx1-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
UNSIGNED_BYTES = 0x08


@SOURCES.implements(FashionMnist)
def fashion_mnist(settings: FashionMnist, data_root: Path | None) -> Labelled:
    """All 70,000 images (1, 28, 28) in ten classes, the publisher's test part included."""
    if not present(data_root):
        raise DataError(
            f"Fashion-MNIST is not in {FOLDER}: install Debian's package dataset-fashion-mnist on the worker"
        )
    images = numpy.concatenate([read_idx(FOLDER / name) for name in IMAGES])
    labels = numpy.concatenate([read_idx(FOLDER / name) for name in LABELS])
    return Labelled(torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels).long(), outputs=10)


@PRESENCE.implements(FashionMnist)
def present(data_root: Path | None) -> bool:
    """Whether the package's files are there."""
    return all((FOLDER / name).is_file() for name in IMAGES + LABELS)


def read_idx(path: Path) -> NDArray[numpy.uint8]:
    """The array in a gzipped IDX file of unsigned bytes.

    Format: two zero bytes, the type code, the number of axes; the length of each axis as a big-endian uint32; the data.
    Source: http://yann.lecun.com/exdb/mnist, "the IDX file format".

    Raises:
        DataError: the file is of another type, or shorter or longer than its header says.
    """
    content = gzip.decompress(path.read_bytes())
    zeros, code, axes = struct.unpack_from(">HBB", content)
    if zeros != 0 or code != UNSIGNED_BYTES:
        raise DataError(f"{path} is no IDX file of unsigned bytes: it starts with {content[:4].hex()}; reinstall it")
    shape = struct.unpack_from(f">{axes}I", content, 4)
    values = numpy.frombuffer(content, numpy.uint8, offset=4 + 4 * axes)
    if values.size != numpy.prod(shape):
        raise DataError(f"{path} holds {values.size} values, its header says {shape}; reinstall it")
    return values.reshape(shape)
