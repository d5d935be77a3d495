from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gyrostat.probes import ProbeSession
from gyrostat.probes.smoothness import displaced

CURVATURES = torch.tensor([4.0, 1.0, 0.25, -0.5])


class Quadratic(nn.Module):
    """½·Σ λᵢ·θᵢ², and a parameter that has no part in it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0, 3.0, 0.5]))
        self.unused = nn.Parameter(torch.ones(2))

    def forward(self) -> Tensor:
        return (CURVATURES * self.weight**2).sum() / 2


class OfItsOwnGradient(Quadratic):
    """The same, formed of its own derivative, as losses of physics and gradient penalties are."""

    def forward(self) -> Tensor:
        (slope,) = torch.autograd.grad(super().forward(), self.weight, create_graph=True)
        return (slope * self.weight).sum() / 2


def step_once(sink: Any, settings: Any, model: nn.Module, loss_of: Callable[[], Tensor], optimizer: Any) -> None:
    with ProbeSession(model, optimizer, settings, sink=sink, scalars=[], probe_loss=loss_of) as session:
        session.begin_step(1)
        optimizer.zero_grad()
        loss_of().backward()
        session.after_backward()
        optimizer.step()
        session.after_update()
        session.end_step({}, epoch=0)
    assert not sink.events


@pytest.mark.parametrize("kind", [Quadratic, OfItsOwnGradient])
def test_on_a_quadratic_all_of_it_is_as_the_closed_form_says(kind: type[Quadratic], sink: Any, only: Any) -> None:
    model = kind()
    before = model.weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step_once(sink, only("smoothness", rho=0.2), model, model, optimizer)
    h, theta = CURVATURES.double().numpy(), model.weight.detach().double().numpy()
    g = h * theta
    unit, step = g / np.linalg.norm(g), np.linalg.norm(theta - before.double().numpy())
    lengths = step * np.array([0.0, 0.5, 1, 2, 4])
    losses = [(h * (theta - s * unit) ** 2).sum() / 2 for s in lengths]
    frame = {name.removeprefix("curvature."): values[0] for name, values in sink.frames[1].items()}
    assert frame["sam_sharpness"] == pytest.approx(0.2 * np.linalg.norm(g) + 0.02 * (unit * h * unit).sum(), rel=1e-4)
    assert frame["loss_range"] == pytest.approx(max(losses) - min(losses), rel=1e-4)
    turned = np.linalg.norm(h * unit)
    assert frame["gradient_change"] == pytest.approx(lengths[-1] * turned / np.linalg.norm(g), rel=1e-4)
    assert frame["effective_smoothness"] == pytest.approx(turned, rel=1e-4)
    assert frame["effective_smoothness_over_limit"] == pytest.approx(turned / (2 / 0.1), rel=1e-4)


def test_on_a_network_with_dropout_they_are_those_of_explicit_copies_without_it(sink: Any, only: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 2))
    model[0].bias.requires_grad_(False)
    x, y = torch.randn(20, 4), torch.randn(20, 2)
    before = [p.detach().clone() for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05)
    step_once(sink, only("smoothness"), model, lambda: (model(x) - y).square().mean(), optimizer)
    after = [p.detach().clone() for p in model.parameters() if p.requires_grad]
    step = torch.cat([(a - b).reshape(-1) for a, b in zip(after, before, strict=True)]).norm()
    model.eval()

    def at(vector: Tensor | None) -> tuple[float, Tensor]:
        trained = [p for p in model.parameters() if p.requires_grad]
        nn.utils.vector_to_parameters(
            torch.cat([a.reshape(-1) for a in after]) + (0 if vector is None else vector), trained
        )
        loss = (model(x) - y).square().mean()
        return loss.item(), torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, trained)])

    loss, g = at(None)
    unit = g / g.norm()
    others = [at(-m * step * unit) for m in (0.5, 1, 2, 4)]
    frame = {name.removeprefix("curvature."): values[0] for name, values in sink.frames[1].items()}
    assert frame["sam_sharpness"] == pytest.approx(at(0.05 * unit)[0] - loss, rel=1e-3)
    losses = [loss, *[other for other, _ in others]]
    assert frame["loss_range"] == pytest.approx(max(losses) - min(losses), rel=1e-3)
    changes = torch.stack([(turned - g).norm() for _, turned in others])
    assert frame["gradient_change"] == pytest.approx((changes.max() / g.norm()).item(), rel=1e-3)
    assert frame["effective_smoothness"] == pytest.approx(
        (changes / (torch.tensor([0.5, 1, 2, 4]) * step)).max().item(), rel=1e-3
    )
    assert "effective_smoothness_over_limit" not in frame


def test_without_a_step_only_sams_sharpness_is_measured_and_without_a_gradient_nothing_changes(
    sink: Any, only: Any
) -> None:
    model = Quadratic()
    step_once(sink, only("smoothness"), model, model, torch.optim.SGD(model.parameters(), lr=0.0))
    assert set(sink.frames[1]) == {"curvature.sam_sharpness"}
    sink.clear()
    with torch.no_grad():
        model.weight.zero_()
        model.unused.grad = torch.ones(2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=1.0)
    step_once(sink, only("smoothness"), model, lambda: model() + 0 * model.unused.sum(), optimizer)
    assert {float(values[0]) for name, values in sink.frames[1].items() if "curvature." in name} == {0.0}


def test_a_failure_at_a_displaced_point_leaves_the_parameters_as_they_were() -> None:
    model = Quadratic()
    before = [p.detach().clone() for p in model.parameters()]

    def fail() -> None:
        with displaced(list(model.parameters()), before, 0.3):
            assert not torch.equal(model.weight, before[0])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
