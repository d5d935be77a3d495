import gzip
import struct

import numpy
import pytest

from gyrostat.spec.data import FashionMnist
from trainer.data import fashion_mnist
from trainer.data.datasets import load
from trainer.data.samples import DataError


def write(path, content: bytes):
    path.write_bytes(gzip.compress(content))
    return path


def test_an_idx_file_is_read_in_its_own_shape(tmp_path):
    values = numpy.arange(24, dtype=numpy.uint8).reshape(2, 3, 4)
    content = struct.pack(">HBBIII", 0, 8, 3, 2, 3, 4) + values.tobytes()
    assert numpy.array_equal(fashion_mnist.read_idx(write(tmp_path / "a.gz", content)), values)


@pytest.mark.parametrize("body", [bytes(23), bytes(25)])
def test_a_file_of_the_wrong_length_is_refused(tmp_path, body):
    path = write(tmp_path / "a.gz", struct.pack(">HBBIII", 0, 8, 3, 2, 3, 4) + body)
    with pytest.raises(DataError, match=r"its header says \(2, 3, 4\); reinstall it"):
        fashion_mnist.read_idx(path)


def test_a_file_of_another_type_is_refused(tmp_path):
    path = write(tmp_path / "a.gz", struct.pack(">HBBI", 0, 13, 1, 1) + bytes(4))
    with pytest.raises(DataError, match="starts with 00000d01"):
        fashion_mnist.read_idx(path)


def test_without_the_package_the_message_names_it(tmp_path, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "FOLDER", tmp_path)
    assert not fashion_mnist.present(None)
    with pytest.raises(DataError, match="install Debian's package dataset-fashion-mnist"):
        load(FashionMnist())


@pytest.mark.skipif(not fashion_mnist.present(None), reason="Debian's package dataset-fashion-mnist is not installed")
def test_the_installed_images_are_all_there():
    data = load(FashionMnist())
    assert tuple(data.inputs.shape) == (FashionMnist.entry.rows, *FashionMnist.entry.shape)
    assert data.targets.bincount().tolist() == [7000] * 10
    assert data.inputs.min() == 0
    assert data.inputs.max() == 255
