"""Steps at which the session does not look at its schedule, and what ends them."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from gyrostat.probes import ProbeSession
from gyrostat.probes.schedule import Due
from gyrostat.spec.probes import Probes


class Training:
    """One whose probes cost more than their budget, and the steps at which the session looked at its schedule."""

    def __init__(self, session: ProbeSession, model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
        self.session, self.looks, self.steps = session, list[int](), 0
        self._model, self._optimizer = model, torch.optim.SGD(model.parameters(), lr=0.01)
        due = session._schedule.due

        def look(step: int) -> Due:
            self.looks.append(step)
            return due(step)

        monkeypatch.setattr(session._schedule, "due", look)

    def step(self, loss: float | None = None) -> None:
        self.steps += 1
        self.session.begin_step(self.steps)
        self._optimizer.zero_grad()
        found = self._model(torch.ones(5, 3)).square().mean()
        found.backward()
        self.session.after_backward()
        self._optimizer.step()
        self.session.after_update()
        self.session.end_step({"loss.train": found.detach() if loss is None else loss}, epoch=0)

    def fall_quiet(self) -> None:
        """Ends where the session has not looked for some steps, and would not for some more."""
        while self.steps < 60 or self.steps != self.looks[-1] + 10:
            assert self.steps < 500
            self.step()


@pytest.fixture
def training(sink: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Training]:
    monkeypatch.setattr("gyrostat.probes.session.ALLOWANCE", 0.0)
    monkeypatch.setattr("gyrostat.probes.session.QUIET_SECONDS", math.inf)  # however busy this machine is
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with ProbeSession(model, optimizer, Probes(budget=1e-6), sink=sink, scalars=["loss.train"]) as session:
        yield Training(session, model, monkeypatch)


def test_a_detector_has_it_look_as_long_as_it_asked_for_however_long_it_was_quiet(training: Training) -> None:
    training.fall_quiet()
    asked = training.steps
    training.session.tighten(4)
    for _ in range(12):
        training.step()
    looks = [step for step in training.looks if step > asked]
    assert looks[:4] == [asked + 1, asked + 2, asked + 3, asked + 4]
    assert len(looks) < 8, "it falls quiet again"


def test_an_incident_among_the_loops_own_scalars_ends_the_quiet(training: Training, sink: Any) -> None:
    training.fall_quiet()
    training.step(math.nan)
    seen = training.steps
    assert sink.events[-1][0] == "log"
    for _ in range(20):
        training.step()
    assert training.looks[-20:] == list(range(seen + 1, seen + 21))
