from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gyrostat.probes import ProbeSession
from gyrostat.probes.native import kernels
from gyrostat.wire.values import is_absent


def network() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2), nn.Linear(2, 2))
    nn.init.zeros_(model[0].bias)
    model[3].requires_grad_(False)
    return model


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.5),
    ],
)
def test_the_ratio_is_of_what_the_optimizer_did_to_copies_made_before(
    sink: Any, only: Any, run_step: Callable[..., Tensor], make: Any
) -> None:
    model = network()
    optimizer = make([p for p in model.parameters() if p.requires_grad])
    with ProbeSession(model, optimizer, only("weights"), sink=sink, scalars=["loss.train"]) as session:
        for step in (1, 2, 3):
            before = {n: p.detach().double().clone() for n, p in model.named_parameters()}
            run_step(session, step, model, optimizer, lambda: model(torch.ones(4, 3)).square().mean(), clip=0.01)
            after = {n: p.detach().double() for n, p in model.named_parameters()}
            for name, value in sink.at(step, "weight.norm").items():
                assert value == pytest.approx(float(after[name].norm()), rel=1e-6)
            for name, value in sink.at(step, "update.ratio").items():
                if name.startswith("3.") or (name == "0.bias" and step == 1):  # frozen; from exactly zero
                    assert is_absent(np.asarray(value))[()], name
                else:
                    way = float((after[name] - before[name]).norm() / before[name].norm())
                    assert value == pytest.approx(way, rel=1e-3), name


def test_parameters_that_the_optimizer_does_not_hold_have_no_ratio(
    sink: Any, only: Any, run_step: Callable[..., Tensor]
) -> None:
    model = network()
    optimizer = torch.optim.SGD(model[2].parameters(), lr=0.1)
    with ProbeSession(model, optimizer, only("weights"), sink=sink, scalars=["loss.train"]) as session:
        run_step(session, 1, model, optimizer, lambda: model(torch.ones(4, 3)).square().mean())
    ratios = sink.frames[1]["update.ratio"]
    assert is_absent(ratios).tolist() == [True, True, False, False, True, True]


def test_a_skipped_update_has_ratio_zero(sink: Any, only: Any) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ProbeSession(model, optimizer, only("weights"), sink=sink, scalars=[]) as session:
        session.begin_step(1)
        model(torch.ones(1, 3)).sum().backward()
        session.after_backward()
        session.after_update()
        session.end_step({}, epoch=0)
    assert sink.at(1, "update.ratio")["0.weight"] == 0


class WritesData(torch.optim.SGD):
    """As optimizers written by hand do: no version of a tensor tells of it."""

    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data.mul_(0.9)


@pytest.mark.parametrize("held", [True, False], ids=["the optimizer's", "another optimizer's"])
def test_sizes_are_of_the_weights_as_they_are_however_they_were_written(
    sink: Any, only: Any, run_step: Callable[..., Tensor], held: bool
) -> None:
    model = network()
    parameters = [p for p in model.parameters() if p.requires_grad and (held or p is not model[0].weight)]
    optimizer = WritesData(parameters, lr=0.1)
    kernels.prepare(wait=True)
    with ProbeSession(model, optimizer, only("weights", "gradients"), sink=sink, scalars=["loss.train"]) as session:
        for step in (1, 2, 3, 4):
            model[0].weight.data.mul_(0.5)  # as clamping after the step does
            before = model[0].weight.detach().double().norm()
            run_step(session, step, model, optimizer, lambda: model(torch.ones(4, 3)).square().mean())
            told = sink.at(step, "gradient.weight_ratio")["0.weight"]
            norm = sink.at(step, "gradient.norm")["0.weight"]
            assert told == pytest.approx(norm / float(before), rel=1e-5), step
