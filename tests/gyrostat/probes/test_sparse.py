"""Embeddings whose gradients are sparse are measured as those whose gradients are not."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gyrostat.probes import ProbeSession
from gyrostat.probes.base import PROBES
from gyrostat.probes.probe_batch import ProbeBatch
from gyrostat.spec.probes import Probes


def measured(sink: Any, *, sparse: bool) -> dict[str, np.ndarray]:
    torch.manual_seed(0)
    words, classes = torch.randint(20, (12, 6)), torch.randint(3, (12,))
    model = nn.Sequential(nn.Embedding(20, 4, sparse=sparse), nn.Flatten(), nn.Tanh(), nn.Linear(24, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def loss_of(batch: tuple[Tensor, ...]) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    own = {name: {"enabled": True, "every": 1} for name in PROBES}
    settings = Probes.model_validate({"budget": None, "recorder": {"enabled": False}, **own})
    batch = ProbeBatch(tensors=lambda: (words, classes), loss_of=loss_of)
    with ProbeSession(model, optimizer, settings, sink=sink, scalars=[], probe_batch=batch) as session:
        for step in (1, 2):
            session.begin_step(step)
            optimizer.zero_grad()
            loss_of((words, classes)).backward()
            session.after_backward()
            optimizer.step()
            session.after_update()
            session.end_step({}, epoch=0)
    assert not sink.events
    found = dict(sink.frames[2])
    sink.clear()
    return found


def test_all_that_is_told_of_sparse_gradients_is_that_of_dense_ones(sink: Any) -> None:
    dense, sparse = measured(sink, sparse=False), measured(sink, sparse=True)
    assert set(dense) == set(sparse)
    assert {"curvature.sharpness", "curvature.block_sharpness", "curvature.sam_sharpness", "kernel.drift"} <= set(dense)
    for name in set(dense) - {"probe.overhead", "probe.total_overhead", "probe.memory_bytes"}:
        np.testing.assert_allclose(sparse[name], dense[name], rtol=2e-3, atol=1e-5, err_msg=name)
