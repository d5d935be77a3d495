"""Throughput counts training, and nothing else."""

import time

import pytest
import torch

from trainer import pace
from trainer.pace import Pace


def test_time_that_is_not_training_is_left_out():
    measured = Pace(samples_per_step=10, device=torch.device("cpu"))
    for _ in range(4):
        time.sleep(0.02)
        with measured.stopped():
            time.sleep(0.2)
        answer = measured.step(last=False)
        assert answer == {}
    time.sleep(0.02)
    answer = measured.step(last=True)
    assert 0.02 <= answer["throughput.step_seconds"] < 0.1
    assert answer["throughput.samples_per_second"] == pytest.approx(10 / answer["throughput.step_seconds"])
    assert set(answer) < set(pace.METRICS)
    assert "memory.device_bytes" not in answer, "a CPU has none"


def test_it_answers_once_a_second(monkeypatch):
    monkeypatch.setattr(pace, "SECONDS", 0.05)
    measured = Pace(samples_per_step=1, device=torch.device("cpu"))
    assert measured.step(last=False) == {}
    time.sleep(0.06)
    assert measured.step(last=False)
    assert measured.step(last=False) == {}
