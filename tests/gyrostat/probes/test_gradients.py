from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gyrostat.probes import ProbeSession
from gyrostat.probes.gradients import _host_log_slope, _log_slope
from gyrostat.wire.values import is_absent

pytestmark = pytest.mark.usefixtures("either_way")


class Tied(nn.Module):
    """A tied head, a frozen layer, a layer without gradient, and a scalar gain."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(6, 4)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.unused = nn.Linear(4, 4)
        self.gain = nn.Parameter(torch.tensor(0.5))
        self.head = nn.Linear(4, 6, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.gain * self.frozen(self.embed(tokens)))  # type: ignore[no-any-return]


def loss_of(model: nn.Module, seed: int) -> Tensor:
    tokens = torch.randint(0, 6, (8,), generator=torch.Generator().manual_seed(seed))
    return nn.functional.cross_entropy(model(tokens), tokens)


def test_norms_are_those_of_a_hand_written_loop_before_and_after_clipping(
    sink: Any, only: Any, run_step: Callable[..., Tensor]
) -> None:
    torch.manual_seed(0)
    model = Tied()
    seeds = iter([1, 2, 1, 2])
    # by hand: both micro-batches, each worth a half
    for _ in range(2):
        (loss_of(model, next(seeds)) / 2).backward()
    norms = {n: float((p.grad.double() ** 2).sum() ** 0.5) for n, p in model.named_parameters() if p.grad is not None}
    whole = sum(norm**2 for norm in norms.values()) ** 0.5

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ProbeSession(model, optimizer, only("gradients"), sink=sink, scalars=["loss.train"]) as session:
        run_step(session, 1, model, optimizer, lambda: loss_of(model, next(seeds)), micro_batches=2, clip=whole / 3)

    found = sink.at(1, "gradient.norm")
    assert list(found) == [name for name, _ in model.named_parameters()]
    assert "head.weight" not in found
    for name, value in found.items():
        if name in norms:
            assert value == pytest.approx(norms[name], rel=1e-6)
        else:
            assert is_absent(np.asarray(value))[()], name
    assert sink.frames[1]["gradient.global_norm"][0] == pytest.approx(whole, rel=1e-6)
    assert sink.frames[1]["gradient.clipped_norm"][0] == pytest.approx(whole / 3, rel=1e-5)


def test_without_clipping_there_is_no_clipped_norm(sink: Any, only: Any, run_step: Callable[..., Tensor]) -> None:
    model = Tied()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ProbeSession(model, optimizer, only("gradients"), sink=sink, scalars=["loss.train"]) as session:
        run_step(session, 1, model, optimizer, lambda: loss_of(model, 0))
    assert "gradient.clipped_norm" not in sink.frames[1]
    assert "gradient.clipped_norm" not in [m.name for m in sink.layouts[0].metrics]


def by_hand(weight: np.ndarray, gradient: np.ndarray) -> dict[str, float]:
    """Every value of one parameter, in float64."""
    w, g = weight.astype(np.float64), gradient.astype(np.float64)
    norm, size = float(np.sqrt((g**2).sum())), float(np.sqrt((w**2).sum()))
    return {
        "gradient.norm": norm,
        "gradient.max_abs": float(np.abs(g).max()),
        "gradient.nonfinite_count": float((~np.isfinite(g)).sum()),
        "gradient.zero_fraction": float((g == 0).mean()),
        "gradient.weight_ratio": norm / size if size else np.nan,
    }


class Words(nn.Module):
    """A table of words with or without sparse gradients, a layer that starts at 0, and one number."""

    def __init__(self, sparse: bool) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 4, sparse=sparse)
        self.head = nn.Linear(4, 3)
        nn.init.zeros_(self.head.bias)
        self.gain = nn.Parameter(torch.tensor(1.5))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.gain * self.table(tokens))  # type: ignore[no-any-return]


@pytest.mark.parametrize("number_format", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("scale", [1.0, 2.0**16])
def test_every_value_is_that_of_float64_by_hand_in_any_format_with_a_loss_scale_and_sparse_gradients(
    sink: Any, only: Any, sparse: bool, number_format: torch.dtype, scale: float
) -> None:
    torch.manual_seed(0)
    model = Words(sparse).to(number_format)
    tokens = torch.tensor([[3, 3, 7], [7, 9, 3]])
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ProbeSession(model, optimizer, only("gradients"), sink=sink, scalars=[]) as session:
        session.begin_step(1)
        for part in tokens:  # two micro-batches, in which words come again
            scaler.scale(model(part).square().mean() / 2).backward()
        scaler.unscale_(optimizer)
        session.after_backward()
        session.end_step({}, epoch=0)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        gradient = parameter.grad.to_dense().double().numpy()
        expected = by_hand(parameter.detach().double().numpy(), gradient)
        if name == "table.weight":
            assert expected["gradient.zero_fraction"] == 47 / 50
        for metric, value in expected.items():
            found = sink.at(1, metric)[name]
            if np.isnan(value):
                assert is_absent(np.asarray(found))[()], (name, metric)
            else:
                assert found == pytest.approx(value, rel=1e-5), (name, metric)


def slope_of(sink: Any, only: Any, scales: list[float], *, frozen: tuple[int, ...] = ()) -> float:
    model = nn.Sequential(*(nn.Linear(3, 3) for _ in scales))
    for layer in frozen:
        model[layer].requires_grad_(False)
    session = ProbeSession(model, torch.optim.SGD(model.parameters()), only("gradients"), sink=sink, scalars=[])
    with session:
        session.begin_step(1)
        for layer, scale in zip(model, scales, strict=True):
            if layer.weight.requires_grad:
                layer.weight.grad = torch.full((3, 3), scale / 3)  # of this norm
                layer.bias.grad = torch.full((3,), 7.0)
        session.after_backward()
        session.end_step({}, epoch=0)
    return float(sink.frames[1]["gradient.depth_slope"][0]) if "gradient.depth_slope" in sink.frames[1] else np.nan


def test_the_slope_over_depth_is_numpys_line_through_the_logarithms_of_the_matrices_norms(sink: Any, only: Any) -> None:
    scales = [1e-6, 3e-6, 1e-4, 2e-3, 1e-3]
    expected = np.polyfit(np.arange(5), np.log(scales), 1)[0]
    assert slope_of(sink, only, scales) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("broken", [0.0, np.inf, np.nan])
def test_the_slope_keeps_every_layer_at_its_depth_and_passes_over_what_has_no_logarithm(
    sink: Any, only: Any, broken: float
) -> None:
    scales = [1.0, broken, 4.0, 8.0, 3.0]
    expected = np.polyfit([0, 2, 4], np.log([1, 4, 3]), 1)[0]
    assert slope_of(sink, only, scales, frozen=(3,)) == pytest.approx(expected, rel=1e-6)


def test_a_slope_needs_two_layers(sink: Any, only: Any) -> None:
    assert np.isnan(slope_of(sink, only, [1.0, 2.0], frozen=(0,)))
    assert "gradient.depth_slope" not in sink.frames[1]
    sink.clear()
    assert is_absent(np.asarray(slope_of(sink, only, [1.0, 0.0]), dtype=np.float32))[()]


def test_the_slope_on_a_device_is_that_on_the_host() -> None:
    sizes = [3.0, 0.0, 1e-30, np.inf, 2.0, np.nan, 7.0, 0.5]
    for count in range(1, len(sizes) + 1):
        there = float(_log_slope(torch.arange(count), torch.tensor(sizes[:count], dtype=torch.float64)))
        here = _host_log_slope(list(enumerate(sizes[:count])))
        assert (
            is_absent(np.asarray(there, dtype=np.float32))[()]
            if here is None
            else there == pytest.approx(here, rel=1e-6)
        ), count


def test_nan_gradients_are_reported_as_nan(sink: Any, only: Any) -> None:
    model = nn.Linear(2, 1)
    with ProbeSession(model, torch.optim.SGD(model.parameters()), only("gradients"), sink=sink, scalars=[]) as session:
        session.begin_step(1)
        (model(torch.ones(1, 2)) * torch.nan).sum().backward()
        session.after_backward()
        session.end_step({}, epoch=0)
    assert np.isnan(sink.frames[1]["gradient.norm"]).all()
    assert not is_absent(sink.frames[1]["gradient.norm"]).any()
    assert np.isnan(sink.frames[1]["gradient.global_norm"]).all()
    assert sink.frames[1]["gradient.nonfinite_count"].tolist() == [2, 1]


def test_float64_and_half_parameters_side_by_side(sink: Any, only: Any) -> None:
    model = nn.Module()
    model.wide = nn.Parameter(torch.full((3,), 1e-200, dtype=torch.float64))
    model.narrow = nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
    with ProbeSession(
        model, torch.optim.SGD(model.parameters()), only("gradients", "weights"), sink=sink, scalars=[]
    ) as session:
        session.begin_step(1)
        (3 * model.wide).sum().backward()
        (2 * model.narrow).sum().backward()
        session.after_backward()
        session.after_update()
        session.end_step({}, epoch=0)
    assert sink.frames[1]["gradient.norm"] == pytest.approx([27**0.5, 12**0.5])
    assert sink.frames[1]["weight.norm"] == pytest.approx([0, 3**0.5])


@pytest.mark.parametrize("rows", [40, 5])
def test_a_parameter_that_was_given_another_size_is_read_as_large_as_it_is(sink: Any, only: Any, rows: int) -> None:
    model = nn.Linear(30, 20, bias=False)
    with ProbeSession(model, torch.optim.SGD(model.parameters()), only("gradients"), sink=sink, scalars=[]) as session:
        for step in (1, 2):
            session.begin_step(step)
            model(torch.ones(4, 30)).sum().backward()
            session.after_backward()
            session.end_step({}, epoch=0)
            model.weight.data, model.weight.grad = torch.ones(rows, 30), None
    assert sink.frames[2]["gradient.norm"] == pytest.approx([4 * (rows * 30) ** 0.5])
    assert sink.frames[2]["gradient.zero_fraction"].tolist() == [0]
