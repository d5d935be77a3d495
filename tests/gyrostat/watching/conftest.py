"""Shared: `gyrostat.attach` without a backend, and one thread."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import gyrostat
from gyrostat.probes import pace
from gyrostat.spec.probes import PROBES, Probes

EVERY = Probes(budget=None, **{name: kind(every=1) for name, kind in PROBES.items()})


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _no_second_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Throughput and memory come with the last step alone, however long the others take."""
    monkeypatch.setattr(pace, "SECONDS", float("inf"))


@pytest.fixture
def attach(tmp_path: Path) -> Iterator[Callable[..., gyrostat.Watch]]:
    """`gyrostat.attach` without a backend, into a folder of the test, with every probe at every step."""
    made: list[gyrostat.Watch] = []

    def attach(*arguments: Any, **named: Any) -> gyrostat.Watch:
        given = {"server": "", "folder": tmp_path / "runs", "probes": EVERY} | named
        made.append(gyrostat.attach(*arguments, **given))
        return made[-1]

    yield attach
    for watch in made:
        watch.finish(timeout=0.1)
