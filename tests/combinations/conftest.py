"""Data is read once for all combinations: reading Fashion-MNIST takes longer than training on it here."""

from functools import cache

import pytest

from trainer.data import datasets, fitting
from trainer.tasks import language_model, sequence_to_sequence

READERS = (fitting, language_model, sequence_to_sequence)
READ = cache(datasets.load)


@pytest.fixture(autouse=True)
def read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in READERS:
        monkeypatch.setattr(module, "load", READ)
