"""8 x 8 images of handwritten digits (UCI Optical Recognition of Handwritten Digits), from scikit-learn."""

from pathlib import Path

import torch

from gyrostat.spec.data import Digits
from trainer.data.samples import Labelled
from trainer.data.sources import SOURCES


@SOURCES.implements(Digits)
def digits(settings: Digits, data_root: Path | None) -> Labelled:
    """1797 images (1, 8, 8) in ten classes."""
    from sklearn.datasets import load_digits  # as slow to load as torch, and most processes do without

    bunch = load_digits()
    return Labelled(torch.from_numpy(bunch.images).unsqueeze(1), torch.from_numpy(bunch.target).long(), outputs=10)
