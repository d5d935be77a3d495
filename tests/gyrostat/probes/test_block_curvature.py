from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gyrostat.probes import ProbeSession


def blocks_of(model: nn.Module, loss_of: Callable[..., Tensor]) -> dict[str, float]:
    """Largest eigenvalue of each parameter's block, by autograd's own dense Hessian in float64, one block at a time."""
    named = {name: p.detach().double() for name, p in model.named_parameters()}
    largest = {}
    for name, own in named.items():

        def loss(value: Tensor, name: str = name, own: Tensor = own) -> Tensor:
            return loss_of(named | {name: value.view(own.shape)})

        dense = torch.autograd.functional.hessian(loss, own.reshape(-1))
        largest[name] = np.linalg.eigvalsh(dense.numpy())[-1]
    return largest


def test_each_parameter_in_its_turn_has_the_largest_eigenvalue_of_its_own_block(sink: Any, only: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Softplus(), nn.Linear(4, 3)
    )
    model[2].bias.requires_grad_(False)
    x, y = torch.randn(30, 4), torch.randn(30, 3)
    statistics = {name: buffer.double() for name, buffer in model.named_buffers()}

    def dense_loss(named: dict[str, Tensor]) -> Tensor:
        outputs = torch.func.functional_call(model, {**named, **statistics}, (x.double(),))
        return (outputs - y.double()).square().mean()

    names = [name for name, p in model.named_parameters() if p.requires_grad]
    seen: dict[str, list[float]] = {name: [] for name in names}
    with ProbeSession(
        model,
        torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1),
        only("block_curvature", blocks=3, tolerance=1e-3, max_products=40),
        sink=sink,
        scalars=[],
        probe_loss=lambda: (model(x) - y).square().mean(),
    ) as session:
        for step in range(1, 7):
            session.begin_step(step)
            session.after_update()
            session.end_step({}, epoch=0)
            measured = sink.at(step, "curvature.block_sharpness")
            present = [name for name, value in measured.items() if not np.isnan(value)]
            assert len(present) == 3
            for name in present:
                seen[name].append(measured[name])
    true = blocks_of(model, dense_loss)
    assert {len(values) for values in seen.values()} == {2, 3}
    for name in names:
        assert seen[name] == pytest.approx([true[name]] * len(seen[name]), rel=0.01, abs=1e-6), name
    assert not sink.events


def test_whose_turn_it_is_goes_round_with_the_state(sink: Any, only: Any) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    loss_of = lambda: model(torch.ones(3, 2)).square().mean()  # noqa: E731
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    first, second = (
        ProbeSession(model, optimizer, only("block_curvature", blocks=1), sink=sink, scalars=[], probe_loss=loss_of)
        for _ in range(2)
    )
    for step, session in ((1, first), (2, second)):
        if session is second:
            second.load_state_dict(first.state_dict())
            sink.layouts.clear()
        session.begin_step(step)
        session.after_update()
        session.end_step({}, epoch=0)
    turns = [
        [name for name, value in sink.at(step, "curvature.block_sharpness").items() if not np.isnan(value)]
        for step in (1, 2)
    ]
    assert turns == [["0.weight"], ["0.bias"]]
