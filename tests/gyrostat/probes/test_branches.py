from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gyrostat.probes import ProbeSession
from gyrostat.spec.connections import Dense, Highway, LayerScale, Residual, ReZero
from trainer.stabilizers import connections

METRIC = "activation.branch_to_trunk"


class Block(nn.Module):
    def __init__(self, settings: Any) -> None:
        super().__init__()
        self.branch = nn.Linear(4, 4)
        self.join = connections.build(settings, 4, dims=1, survival=0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.join(self.branch(x), x)  # type: ignore[no-any-return]


def expected(block: Block, inputs: list[Tensor]) -> float:
    """From the formulas of the papers, in float64."""
    x = torch.cat(inputs).double().numpy()
    weight, bias = (p.detach().double().numpy() for p in block.branch.parameters())
    branch, trunk = x @ weight.T + bias, x
    own = {name: p.detach().double().numpy() for name, p in block.join.named_parameters()}
    if "scale" in own:
        branch = own["scale"] * branch
    if "weight" in own:
        gate = 1 / (1 + np.exp(-(x @ own["weight"].T + own["bias"])))
        branch, trunk = branch * gate, x * (1 - gate)
    return float(np.sqrt((branch**2).mean() / (trunk**2).mean()))


@pytest.mark.parametrize("settings", [Residual(), Dense(), Highway(), LayerScale(start=0.3), ReZero()])
def test_what_a_branch_adds_over_what_it_is_added_to(
    sink: Any, only: Any, run_step: Callable[..., Tensor], settings: Any
) -> None:
    torch.manual_seed(0)
    block = Block(settings)
    if isinstance(settings, ReZero):
        nn.init.constant_(block.join.scale, -0.7)  # type: ignore[arg-type]
    inputs = [torch.randn(6, 4), torch.randn(6, 4)]
    wanted = expected(block, inputs)
    feed = iter(inputs)
    optimizer = torch.optim.SGD(block.parameters(), lr=0.1)
    with ProbeSession(block, optimizer, only("branches"), sink=sink, scalars=["loss.train"]) as session:
        run_step(session, 1, block, optimizer, lambda: block(next(feed)).square().mean(), micro_batches=2)
    assert not sink.events
    assert sink.at(1, METRIC) == {"join": pytest.approx(wanted, rel=1e-5)}


class Add(nn.Module):
    """Anybody's join."""

    def summands(self, x: Tensor, *, branch: Tensor) -> tuple[Tensor, Tensor]:
        return branch, x

    def forward(self, x: Tensor, *, branch: Tensor) -> Tensor:
        return x.add_(branch)


def test_anybodys_join_is_one_by_its_method_and_is_read_before_it_works_in_place(
    sink: Any, only: Any, run_step: Callable[..., Tensor]
) -> None:
    model = nn.ModuleDict({"add": Add()})
    model.weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss_of = lambda: model["add"](torch.full((2, 3), 4.0), branch=torch.full((2, 3), -2.0) * model.weight).sum()  # noqa: E731
    with ProbeSession(model, optimizer, only("branches"), sink=sink, scalars=["loss.train"]) as session:
        run_step(session, 1, model, optimizer, loss_of)
    assert sink.at(1, METRIC) == {"add": 0.5}


def test_a_model_without_joins_sends_nothing(sink: Any, only: Any, run_step: Callable[..., Tensor]) -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ProbeSession(model, optimizer, only("branches"), sink=sink, scalars=["loss.train"]) as session:
        run_step(session, 1, model, optimizer, lambda: model(torch.ones(1, 2)).sum())
    assert set(sink.frames[1]) == {"loss.train"}
