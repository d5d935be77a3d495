"""Throughput counts training, and nothing else."""

import time

import pytest
import torch

from gyrostat.probes import pace
from gyrostat.probes.pace import Pace


def test_time_that_is_not_training_is_left_out() -> None:
    measured = Pace(torch.device("cpu"))
    for _ in range(4):
        time.sleep(0.02)
        with measured.stopped():
            time.sleep(0.2)
        answer = measured.step(samples=10, last=False)
        assert answer == {}
    time.sleep(0.02)
    answer = measured.step(samples=10, last=True)
    assert 0.02 <= answer["throughput.step_seconds"] < 0.1
    assert answer["throughput.samples_per_second"] == pytest.approx(10 / answer["throughput.step_seconds"])
    assert set(answer) < set(pace.METRICS)
    assert "memory.device_bytes" not in answer, "a CPU has none"


def test_it_answers_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "SECONDS", 0.05)
    measured = Pace(torch.device("cpu"))
    assert measured.step(samples=0, last=False) == {}
    time.sleep(0.06)
    assert measured.step(samples=0, last=False).keys() == {"throughput.step_seconds", "memory.resident_bytes"}
    assert measured.step(samples=0, last=False) == {}
