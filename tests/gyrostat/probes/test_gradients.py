from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gyrostat.probes import ProbeSession
from gyrostat.wire.values import is_absent


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
    assert set(sink.frames[1]) == {"loss.train", "gradient.norm", "gradient.global_norm"}
    assert [m.name for m in sink.layouts[0].metrics] == ["loss.train", "gradient.norm", "gradient.global_norm"]


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
