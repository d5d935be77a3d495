"""Bundled tables of three classification problems, from scikit-learn."""

from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from gyrostat.spec.data import BreastCancer, Iris, Wine
from trainer.data.samples import Labelled
from trainer.data.sources import SOURCES


@SOURCES.implements(BreastCancer)
def breast_cancer(settings: BreastCancer, data_root: Path | None) -> Labelled:
    """569 tumours, 30 columns as measured; 0 malignant, 1 benign."""
    return _table("load_breast_cancer", classes=2)


@SOURCES.implements(Wine)
def wine(settings: Wine, data_root: Path | None) -> Labelled:
    """178 wines, 13 columns as measured, three cultivars."""
    return _table("load_wine", classes=3)


@SOURCES.implements(Iris)
def iris(settings: Iris, data_root: Path | None) -> Labelled:
    """150 flowers, four columns in centimetres, three species."""
    return _table("load_iris", classes=3)


def _table(loader: str, *, classes: int) -> Labelled:
    # as slow to load as torch, and most processes do without
    bunch: Any = getattr(import_module("sklearn.datasets"), loader)()
    return Labelled(torch.from_numpy(bunch.data), torch.from_numpy(bunch.target).long(), outputs=classes)
