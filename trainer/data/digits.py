"""8 x 8 images of handwritten digits (UCI Optical Recognition of Handwritten Digits), from scikit-learn."""

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy
import torch

from gyrostat.spec.data import Digits
from trainer.data.samples import Labelled
from trainer.data.sources import SOURCES


@SOURCES.implements(Digits)
def digits(settings: Digits, data_root: Path | None) -> Labelled:
    """1797 images (1, 8, 8) in ten classes."""
    table = _table()
    images = torch.from_numpy(table[:, :-1]).view(-1, 1, 8, 8)
    return Labelled(images, torch.from_numpy(table[:, -1]).long(), outputs=10)


def _table() -> "numpy.ndarray[tuple[int, int], numpy.dtype[numpy.float64]]":
    """(1797, 65): pixels and label, of the file in scikit-learn.

    Importing scikit-learn takes as long as importing torch, and every training of digits would wait for it: its file is
    read without it where it lies as it has for years, and through it where it does not.
    """
    package = find_spec("sklearn")
    for folder in (package.submodule_search_locations or ()) if package is not None else ():
        file = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            with gzip.open(file, "rt") as lines:
                return numpy.loadtxt(lines, delimiter=",", ndmin=2)
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return numpy.column_stack([bunch.data, bunch.target])
