from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gyrostat.probes import ProbeSession
from gyrostat.wire.values import is_absent


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 5), nn.Linear(5, 2).bfloat16().float())
    nn.init.zeros_(model[0].bias)
    model[2].requires_grad_(False)
    return model


def watching(model: nn.Module, sink: Any, only: Any) -> tuple[ProbeSession, torch.optim.Optimizer]:
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    return ProbeSession(model, optimizer, only("distance"), sink=sink, scalars=["loss.train"]), optimizer


def steps(run_step: Callable[..., Tensor], session: ProbeSession, model: nn.Module, optimizer: Any, of: Any) -> None:
    for step in of:
        run_step(session, step, model, optimizer, lambda: model(torch.ones(4, 3)).square().mean())


def test_the_distance_is_that_of_copies_made_before_the_training(
    sink: Any, only: Any, run_step: Callable[..., Tensor]
) -> None:
    model = network()
    start = {n: p.detach().double().clone() for n, p in model.named_parameters()}
    session, optimizer = watching(model, sink, only)
    with session:
        for step in (1, 2, 3):
            steps(run_step, session, model, optimizer, [step])
            for name, value in sink.at(step, "weight.distance_from_init").items():
                if name == "0.bias":  # began at zero
                    assert is_absent(np.asarray(value))[()]
                else:
                    way = model.get_parameter(name).detach().double() - start[name]
                    assert value == pytest.approx(float(way.norm() / start[name].norm()), rel=1e-5), (step, name)
    assert sink.at(3, "weight.distance_from_init")["2.weight"] == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_of_other_number_formats(sink: Any, only: Any, dtype: torch.dtype) -> None:
    model = nn.Linear(40, 30, dtype=dtype)
    session, _ = watching(model, sink, only)
    start = model.weight.detach().double().clone()
    with session, torch.no_grad():
        session.begin_step(1)
        model.weight.mul_(1.25)
        session.after_update()
        session.end_step({}, epoch=0)
    way = float((model.weight.detach().double() - start).norm() / start.norm())
    assert sink.at(1, "weight.distance_from_init")["weight"] == pytest.approx(way, rel=2e-3)


def test_a_resumed_training_is_followed_from_its_first_start(
    sink: Any, only: Any, run_step: Callable[..., Tensor]
) -> None:
    model = network()
    session, optimizer = watching(model, sink, only)
    with session:
        steps(run_step, session, model, optimizer, (1, 2))
        kept, weights = session.state_dict(), {n: t.clone() for n, t in model.state_dict().items()}
        steps(run_step, session, model, optimizer, (3,))
    unbroken = sink.at(3, "weight.distance_from_init")
    sink.clear()
    assert sum(t.numel() for t in kept["probes"]["distance"]["start"].values()) <= 4 * len(weights)

    resumed = network()  # drawn again, then loaded, as the trainer does
    session, optimizer = watching(resumed, sink, only)
    resumed.load_state_dict(weights)
    session.load_state_dict(kept)
    with session:
        steps(run_step, session, resumed, optimizer, (3,))
    np.testing.assert_array_equal(list(sink.at(3, "weight.distance_from_init").values()), list(unbroken.values()))


def test_where_the_first_start_is_not_at_hand_there_is_no_distance(
    sink: Any, only: Any, run_step: Callable[..., Tensor]
) -> None:
    model = network()
    session, optimizer = watching(model, sink, only)
    with session:
        steps(run_step, session, model, optimizer, (1,))
        kept, weights = session.state_dict(), model.state_dict()
    sink.clear()

    other = network(seed=1)
    other.load_state_dict(weights)
    session, optimizer = watching(other, sink, only)
    session.load_state_dict(kept)
    with session:
        steps(run_step, session, other, optimizer, (2,))
    found = sink.at(2, "weight.distance_from_init")
    assert {name for name, value in found.items() if not is_absent(np.asarray(value))[()]} == {"2.weight", "2.bias"}


def test_a_fork_that_draws_otherwise_says_that_it_has_no_distance(sink: Any, only: Any) -> None:
    parent, _ = watching(network(), sink, only)
    same, _ = watching(network(), sink, only)
    other, _ = watching(network(seed=1), sink, only)
    assert same.take_over(parent.state_dict()) == []
    assert "5 parameters" in other.take_over(parent.state_dict())[0]  # all but the bias of zeros
    assert "6 parameters" in same.take_over({})[0]
