from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gyrostat.probes import ProbeSession
from gyrostat.probes.ranks import effective_and_stable, sample


def reference(matrix: np.ndarray) -> tuple[float, float]:
    values = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
    p = values[values > 0] / values.sum()
    return float(np.exp(-(p * np.log(p)).sum())), float((values**2).sum() / values[0] ** 2)


@pytest.mark.parametrize("shape", [(8, 8), (40, 7), (5, 30)])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_ranks_are_those_of_the_dense_decomposition(shape: tuple[int, int], scale: float) -> None:
    generator = np.random.default_rng(0)
    matrices = generator.normal(size=(3, *shape)).astype(np.float32)
    matrices[1] = np.outer(matrices[1][:, 0], matrices[1][0])  # one direction
    found = effective_and_stable(torch.from_numpy(matrices) * scale)
    for at, matrix in enumerate(matrices):
        expected = reference(matrix)
        assert float(found[0][at]) == pytest.approx(expected[0], rel=1e-4)
        assert float(found[1][at]) == pytest.approx(expected[1], rel=1e-4)
    assert float(found[1][1]) == pytest.approx(1, rel=1e-5)


def test_closed_forms_and_what_has_no_rank() -> None:
    rows = [torch.eye(6), torch.zeros(6, 6), torch.full((6, 6), torch.nan), torch.full((6, 6), torch.inf)]
    effective, stable = effective_and_stable(torch.stack(rows))
    np.testing.assert_allclose(effective.numpy(), [6, 0, np.nan, np.nan])
    np.testing.assert_allclose(stable.numpy(), [6, 0, np.nan, np.nan])


def test_a_sample_is_evenly_spread_rows_of_features() -> None:
    images = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    rows = images.permute(0, 2, 3, 1).reshape(-1, 3)
    assert sample(images, 1, 100, 100).tolist() == rows.tolist()
    assert sample(images.contiguous(memory_format=torch.channels_last), 1, 100, 100).tolist() == rows.tolist()
    assert sample(images, 1, 4, 2).tolist() == rows[::10, [0, 1]].tolist()
    sequences = torch.arange(24.0).reshape(2, 3, 4)
    assert sample(sequences, 2, 3, 2).tolist() == sequences.reshape(6, 4)[::2, ::2].tolist()
    assert sample(sequences.half(), 2, 3, 2).dtype == torch.float32


def test_of_each_modules_first_output(sink: Any, only: Any, run_step: Callable[..., Tensor]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 5))
    inputs = torch.randn(7, 1, 4, 4)
    conv = model[0](inputs).detach()
    flat = conv.relu().flatten(1)
    matrices = {
        "0": conv.permute(0, 2, 3, 1).reshape(-1, 6),
        "1": conv.relu().permute(0, 2, 3, 1).reshape(-1, 6),
        "2": flat,
        "3": model[3](flat).detach(),
    }
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    feed = iter([inputs, 100 * inputs])
    with ProbeSession(model, optimizer, only("ranks"), sink=sink, scalars=["loss.train"]) as session:
        session._schedule._late = frozenset()
        run_step(session, 1, model, optimizer, lambda: model(next(feed)).square().mean(), micro_batches=2)
    assert not sink.events
    for which, metric in enumerate(("activation.effective_rank", "activation.stable_rank")):
        found = sink.at(1, metric)
        assert set(found) == set(matrices)
        for name, matrix in matrices.items():
            assert found[name] == pytest.approx(reference(matrix.numpy())[which], rel=1e-4), (metric, name)
