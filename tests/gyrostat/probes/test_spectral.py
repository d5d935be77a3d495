import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from gyrostat.probes import ProbeSession
from gyrostat.wire.values import is_absent


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


class Convolutions(nn.Module):
    """Geometries, equal ones beside each other, images of several sizes, a kernel that two share, one that rests."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.third = nn.Conv2d(4, 4, 3, padding=1)
        self.grouped = nn.Conv2d(4, 4, 3, stride=2, groups=4)
        self.circular = nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular")
        self.strided = nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.strided.weight = self.second.weight
        self.up = nn.ConvTranspose2d(4, 2, 3, stride=2)
        self.normal = parametrizations.weight_norm(nn.Conv2d(2, 3, 3, bias=False))
        self.point = nn.Conv2d(3, 5, 1).bfloat16()
        self.unused = nn.Conv2d(3, 3, 3)
        self.experts = nn.Parameter(torch.randn(2, 3, 4))
        self.seen: dict[str, tuple[int, ...]] = {}

    def call(self, name: str, x: Tensor) -> Tensor:
        self.seen[name] = tuple(x.shape[2:])
        return self.get_submodule(name)(x)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        self.first(x[..., :4, :5])
        x = self.call("circular", self.call("third", self.call("second", self.call("first", x))))
        self.call("grouped", x)
        x = self.call("normal", self.call("up", self.call("strided", x)))
        return self.call("point", x.bfloat16())


def true_operator_norms(model: Convolutions) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, size in model.seen.items():
        layer = copy.deepcopy(model.get_submodule(name)).double()
        units = torch.eye(layer.in_channels * math.prod(size), dtype=torch.float64)
        with torch.no_grad():
            rows = layer(units.reshape(-1, layer.in_channels, *size))
            rows = rows - layer(torch.zeros(1, layer.in_channels, *size, dtype=torch.float64))
        found[name] = float(np.linalg.svd(rows.flatten(1).numpy(), compute_uv=False)[0])
    return found


def test_operator_norms_are_those_of_dense_matrices_on_the_images_that_came_cold_and_warm(sink: Any, only: Any) -> None:
    for seed in range(2):
        torch.manual_seed(seed)
        sink.clear()
        model = Convolutions()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with ProbeSession(model, optimizer, only("spectral"), sink=sink, scalars=[]) as session:
            for step in range(1, 5):
                session.begin_step(step)
                model(torch.randn(2, 2, 6, 7 if step < 3 else 9))
                session.after_backward()
                session.after_update()
                session.end_step({}, epoch=0)
                true = true_operator_norms(model)
                found = sink.at(step, "weight.operator_norm")
                true["second"] = max(true["second"], true.pop("strided"))
                for name, value in true.items():
                    weight = f"{name}.weight.original1" if name == "normal" else f"{name}.weight"
                    assert found[weight] == pytest.approx(value, rel=1e-3), (seed, step, name)
                nothing = {name for name, value in found.items() if is_absent(np.asarray(value))[()]}
                assert nothing == {"unused.weight", "experts"}
                with torch.no_grad():
                    for p in model.parameters():
                        p.add_(0.02 * torch.randn_like(p))
        assert not sink.events


def test_stable_ranks_are_those_of_all_singular_values(sink: Any, only: Any) -> None:
    torch.manual_seed(0)
    model = Matrices()
    with ProbeSession(model, torch.optim.SGD(model.parameters()), only("spectral"), sink=sink, scalars=[]) as session:
        session.begin_step(1)
        session.after_update()
        session.end_step({}, epoch=0)
    found = sink.at(1, "weight.stable_rank")
    for name, p in model.named_parameters():
        if name in ("zero", "empty"):
            assert is_absent(np.asarray(found[name]))[()]
        elif p.ndim >= 2:
            values = np.linalg.svd(p.detach().double().numpy().reshape(len(p), -1), compute_uv=False)
            assert found[name] == pytest.approx((values**2).sum() / values[0] ** 2, rel=2e-3)
    assert found["orthogonal"] == pytest.approx(30, rel=1e-3)
    assert found["row.weight"] == pytest.approx(1, rel=1e-6)


def test_over_a_training_of_many_matrices_each_measurement_meets_the_stated_error(sink: Any, only: Any) -> None:
    """Singular values cross on the way: each matrix goes from one random one to another."""
    torch.manual_seed(0)
    model = nn.ModuleList(nn.Linear(24, 24 + 8 * (at % 2), bias=False) for at in range(40))
    ends = [(p.detach().clone(), torch.randn_like(p) * p.std()) for p in model.parameters()]
    errors = []
    with ProbeSession(model, torch.optim.SGD(model.parameters()), only("spectral"), sink=sink, scalars=[]) as session:
        for step in range(1, 42):
            with torch.no_grad():
                for p, (start, end) in zip(model.parameters(), ends, strict=True):
                    p.copy_(torch.lerp(start, end, (step - 1) / 40))
            session.begin_step(step)
            session.after_update()
            session.end_step({}, epoch=0)
            true = np.array(list(true_norms(model).values()))
            errors.append(np.abs(sink.frames[step]["weight.spectral_norm"] / true - 1))
    worst = np.stack(errors)
    assert (worst <= 1e-3).mean() >= 0.999
    assert worst.max() <= 0.01


def test_the_vectors_of_images_are_in_no_checkpoint(sink: Any, only: Any) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 30 * 30, 2))
    with ProbeSession(model, torch.optim.SGD(model.parameters()), only("spectral"), sink=sink, scalars=[]) as session:
        session.begin_step(1)
        model(torch.randn(1, 3, 32, 32))
        session.after_update()
        session.end_step({}, epoch=0)
        vectors = session.state_dict()["probes"]["spectral"]["vectors"]
    assert sorted(len(vector) for vector in vectors.values()) == [2, 4]
