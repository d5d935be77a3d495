"""Torch's default dtype and device are the training's affair: what a session holds in memory has its own."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gyrostat.probes import ProbeSession

pytestmark = pytest.mark.usefixtures("either_way")


def frames(sink: Any, settings: Any, dtype: torch.dtype, device: str) -> dict[int, dict[str, np.ndarray]]:
    """Of a float32 training on a CPU; its numbers are made while torch's defaults are its own."""
    sink.clear()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 300), nn.Tanh(), nn.Linear(300, 300), nn.ReLU(), nn.Linear(300, 2))
    batches = [torch.randn(120, 20) for _ in range(3)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device), ProbeSession(model, optimizer, settings, sink=sink, scalars=[]) as session:
            for step, batch in enumerate(batches, 1):
                session.begin_step(step)
                optimizer.zero_grad()
                model(batch).square().mean().backward()
                session.after_backward()
                optimizer.step()
                session.after_update()
                session.end_step({}, epoch=0)
    finally:
        torch.set_default_dtype(torch.float32)
    assert not sink.events
    return dict(sink.frames)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_readings_do_not_depend_on_torchs_defaults(sink: Any, only: Any, dtype: torch.dtype) -> None:
    settings = only("weights", "gradients", "activations", "signals")
    usual = frames(sink, settings, torch.float32, "cpu")
    other = frames(sink, settings, dtype, "meta")
    assert usual.keys() == other.keys() == {1, 2, 3}
    for step, readings in usual.items():
        assert readings.keys() == other[step].keys()
        for metric in readings.keys() - {"probe.overhead", "probe.memory_bytes"}:
            np.testing.assert_array_equal(other[step][metric], readings[metric], metric)
