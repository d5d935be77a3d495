from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gyrostat.probes import ProbeSession


class Matrices(nn.Module):
    """Shapes that are met: tall, wide, convolution, embedding, one row, one column, zero, empty, vectors, half."""

    def __init__(self) -> None:
        super().__init__()
        self.tall = nn.Linear(20, 90)
        self.wide = nn.Linear(90, 20)
        self.convolution = nn.Conv2d(3, 8, 3)
        self.embedding = nn.Embedding(50, 7)
        self.row = nn.Linear(9, 1)
        self.column = nn.Linear(1, 9)
        self.zero = nn.Parameter(torch.zeros(4, 4))
        self.empty = nn.Parameter(torch.zeros(0, 4))
        self.orthogonal = nn.Parameter(nn.init.orthogonal_(torch.empty(30, 30)))
        self.narrow = nn.Parameter(torch.randn(12, 12).bfloat16())
        self.wider = nn.Parameter(torch.randn(12, 12).double())


def true_norms(model: nn.Module) -> dict[str, float]:
    found = {}
    for name, p in model.named_parameters():
        if p.ndim >= 2:
            matrix = p.detach().double().numpy().reshape(len(p), -1) if len(p) else np.zeros((1, 1))
            found[name] = float(np.linalg.svd(matrix, compute_uv=False)[0])
    return found


def test_norms_are_those_of_numpys_singular_values_cold_and_warm(sink: Any, only: Any) -> None:
    torch.manual_seed(0)
    model = Matrices()
    with ProbeSession(model, torch.optim.SGD(model.parameters()), only("spectral"), sink=sink, scalars=[]) as session:
        for step in range(1, 8):
            session.begin_step(step)
            session.after_backward()
            session.after_update()
            session.end_step({}, epoch=0)
            true = true_norms(model)
            found = sink.at(step, "weight.spectral_norm")
            assert list(found) == list(true)
            for name, value in found.items():
                assert value == pytest.approx(true[name], rel=1e-3, abs=1e-12), (step, name)
            with torch.no_grad():
                for p in model.parameters():
                    p.add_(0.02 * torch.randn_like(p))
    assert "zero" in true
    assert not sink.events


def test_a_large_random_matrix_whose_singular_values_crowd_is_still_right(sink: Any, only: Any) -> None:
    torch.manual_seed(0)
    model = nn.Linear(300, 300)
    with ProbeSession(model, torch.optim.SGD(model.parameters()), only("spectral"), sink=sink, scalars=[]) as session:
        session.begin_step(1)
        session.after_update()
        session.end_step({}, epoch=0)
    assert sink.frames[1]["weight.spectral_norm"][0] == pytest.approx(true_norms(model)["weight"], rel=1e-3)


def test_under_autocast_the_products_keep_their_precision(sink: Any, only: Any) -> None:
    torch.manual_seed(0)
    model = nn.Linear(40, 30)
    with ProbeSession(model, torch.optim.SGD(model.parameters()), only("spectral"), sink=sink, scalars=[]) as session:
        session.begin_step(1)
        with torch.autocast("cpu", torch.bfloat16):
            session.after_update()
        session.end_step({}, epoch=0)
    assert sink.frames[1]["weight.spectral_norm"][0] == pytest.approx(true_norms(model)["weight"], rel=1e-3)


def test_a_matrix_with_nan_gives_nan_and_recovers_with_it(sink: Any, only: Any) -> None:
    torch.manual_seed(0)
    model = nn.Linear(5, 4)
    with ProbeSession(model, torch.optim.SGD(model.parameters()), only("spectral"), sink=sink, scalars=[]) as session:
        for step, value in enumerate((1.0, torch.nan, 2.0), start=1):
            model.weight.data[0, 0] = value
            session.begin_step(step)
            session.after_update()
            session.end_step({}, epoch=0)
    assert np.isnan(sink.frames[2]["weight.spectral_norm"]).all()
    assert sink.frames[3]["weight.spectral_norm"][0] == pytest.approx(true_norms(model)["weight"], rel=1e-3)


def test_warm_measurements_take_fewer_products(sink: Any, only: Any, run_step: Callable[..., Tensor]) -> None:
    torch.manual_seed(0)
    products = []
    model = nn.Linear(100, 100)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with ProbeSession(model, optimizer, only("spectral"), sink=sink, scalars=["loss.train"]) as session:
        for step in (1, 2, 3):
            with torch.profiler.profile() as profile:
                run_step(session, step, model, optimizer, lambda: model(torch.ones(1, 100)).square().mean())
            products.append(sum(e.count for e in profile.key_averages() if e.key == "aten::mv"))
    assert max(products[1:]) <= products[0] / 3
