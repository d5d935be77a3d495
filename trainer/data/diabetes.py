"""Disease progression from ten measurements (Efron et al. 2004), from scikit-learn."""

from pathlib import Path

import torch

from gyrostat.spec.data import Diabetes
from trainer.data.samples import Labelled
from trainer.data.sources import SOURCES


@SOURCES.implements(Diabetes)
def diabetes(settings: Diabetes, data_root: Path | None) -> Labelled:
    """442 patients, ten columns as measured, one target."""
    from sklearn.datasets import load_diabetes  # as slow to load as torch, and most processes do without

    bunch = load_diabetes(scaled=False)
    return Labelled(torch.from_numpy(bunch.data), torch.from_numpy(bunch.target).unsqueeze(1), outputs=1)
