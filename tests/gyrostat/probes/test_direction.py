from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gyrostat.probes import ProbeSession
from gyrostat.probes.direction import fused_turn, turn
from gyrostat.wire.values import is_absent

METRIC = "gradient.direction_change"


def by_hand(before: Tensor, after: Tensor) -> float:
    a, b = (tensor.to_dense().double().numpy().ravel() for tensor in (before, after))
    return float(1 - a @ b / np.sqrt((a @ a) * (b @ b)))


class Words(nn.Module):
    """A table of words, a layer without gradient, a frozen one, and one number; the head is tied to the table."""

    def __init__(self, sparse: bool) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 4, sparse=sparse)
        self.unused = nn.Linear(4, 4)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.gain = nn.Parameter(torch.tensor(1.5))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.frozen(self.gain * self.table(tokens)).square().sum()  # type: ignore[no-any-return]


@pytest.mark.parametrize("number_format", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("sparse", [False, True])
def test_it_is_the_angle_between_the_gradients_of_consecutive_steps_in_float64(
    sink: Any, only: Any, sparse: bool, number_format: torch.dtype
) -> None:
    torch.manual_seed(0)
    model = Words(sparse).to(number_format)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = [torch.tensor([1, 2, 2]), torch.tensor([2, 7, 2]), torch.tensor([9, 9, 2]), torch.tensor([1, 2, 9])]
    taken: list[dict[str, Tensor]] = []
    with ProbeSession(model, optimizer, only("direction"), sink=sink, scalars=[]) as session:
        for step, batch in enumerate(batches, start=1):
            session.begin_step(step)
            optimizer.zero_grad()
            model(batch).backward()
            session.after_backward()
            taken.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter.grad.mul_(1e-3)  # what clips in place afterwards is not seen
            session.after_clip()
            optimizer.step()
            session.after_update()
            session.end_step({}, epoch=0)
    assert list(sink.frames) == [2, 3, 4]
    for step in (2, 3, 4):
        for name, value in sink.at(step, METRIC).items():
            if name in taken[0]:
                expected = by_hand(taken[step - 2][name], taken[step - 1][name])
                assert value == pytest.approx(expected, rel=1e-5, abs=1e-7), (step, name)
            else:
                assert is_absent(np.asarray(value))[()], name


def gradients(session: ProbeSession, model: nn.Module, step: int, *values: float | None) -> None:
    session.begin_step(step)
    for parameter, value in zip(model.parameters(), values, strict=True):
        parameter.grad = None if value is None else torch.full_like(parameter, value)
    session.after_backward()
    session.after_update()
    session.end_step({}, epoch=0)


def test_a_due_step_is_compared_with_the_very_next_one_and_with_no_other(sink: Any, only: Any) -> None:
    model = nn.Linear(2, 1)
    settings = only("direction", every=4)
    with ProbeSession(model, torch.optim.SGD(model.parameters()), settings, sink=sink, scalars=[]) as session:
        for step in range(1, 7):
            gradients(session, model, step, 1.0, float(step % 2) - 0.5)
        assert {step: frame[METRIC].tolist() for step, frame in sink.frames.items()} == {2: [0, 2], 5: [0, 2]}
        gradients(session, model, 8, 1.0, 1.0)
        gradients(session, model, 6, -1.0, -1.0)  # rolled back
        gradients(session, model, 7, -1.0, -1.0)
        assert set(sink.frames) == {2, 5}
        session.begin_step(8)
        session.begin_step(9)  # broken off before its gradients
        gradients(session, model, 10, 1.0, 1.0)
        assert set(sink.frames) == {2, 5}


def test_without_a_direction_there_is_no_value_and_what_is_not_finite_is_nan(sink: Any, only: Any) -> None:
    model = nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 1))
    session = ProbeSession(model, torch.optim.SGD(model.parameters()), only("direction"), sink=sink, scalars=[])
    with session:
        gradients(session, model, 1, 0.0, 1.0, None, 1.0)
        gradients(session, model, 2, 1.0, torch.nan, 1.0, torch.inf)
    values = sink.frames[2][METRIC]
    assert is_absent(values).tolist() == [True, False, True, False]
    assert np.isnan(values).all()


@pytest.mark.parametrize("scale", [1e-38, 1e-25, 1.0, 1e25, 1e36])
@pytest.mark.parametrize("angle", [1e-6, 1e-3, 1.0, 3.0])
def test_small_angles_and_extreme_sizes_keep_their_precision(scale: float, angle: float) -> None:
    x, y = torch.randn(2, 300_001, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x, y = x / x.norm(), y / y.norm()
    y = y - (x @ y) * x
    before, after = scale * x, 0.3 * scale * (np.cos(angle) * x + np.sin(angle) * y / y.norm())
    for kind in (torch.float64, torch.float32) if scale > 1e-20 and angle > 1e-4 else (torch.float64,):
        a, b = before.to(kind), after.to(kind)
        for way in (turn, fused_turn):
            found = way(a, b, a.double().norm(), b.double().norm()).item()
            assert found == pytest.approx(2 * np.sin(angle / 2) ** 2, rel=1e-3 if kind == torch.float32 else 1e-6)
