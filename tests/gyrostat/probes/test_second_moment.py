"""RMS_t against the recurrences of the optimizers, written out in float64 beside the training."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gyrostat.probes import ProbeSession
from gyrostat.probes.second_moment import Divisor, lag
from gyrostat.wire.values import is_absent
from trainer.stabilizers.own_optimizers import Sam, ScheduleFree, Together

METRIC = "update.second_moment_lag"
Array = np.ndarray[Any, Any]


def adam(before: Array, squares: Array, step: int) -> tuple[Array, Array]:
    """v and v̂ with β₂ = 0.9."""
    after = 0.9 * before + 0.1 * squares
    return after, after / (1 - 0.9**step)


def rmsprop(before: Array, squares: Array, step: int) -> tuple[Array, Array]:
    """s, twice, with α = 0.9."""
    after = 0.9 * before + 0.1 * squares
    return after, after


EPS = 1e-3  # of the size of some gradients, so that its place in the formula counts
CASES: dict[str, tuple[Callable[..., torch.optim.Optimizer], Any, float]] = {
    "adam": (lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.5, 0.9), eps=EPS), adam, 0.0),
    "adam, decay in the gradient": (
        lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.5, 0.9), eps=EPS, weight_decay=0.3),
        adam,
        0.3,
    ),
    "adamw, in one kernel": (
        lambda p: torch.optim.AdamW(p, lr=0.1, betas=(0.5, 0.9), eps=EPS, weight_decay=0.3, fused=True),
        adam,
        0.0,
    ),
    "nadam": (lambda p: torch.optim.NAdam(p, lr=0.1, betas=(0.5, 0.9), eps=EPS), adam, 0.0),
    "rmsprop": (lambda p: torch.optim.RMSprop(p, lr=0.1, alpha=0.9, eps=EPS, momentum=0.5), rmsprop, 0.0),
    "schedule-free": (lambda p: ScheduleFree(p, "adamw", lr=0.1, beta=0.9, beta2=0.9, eps=EPS), adam, 0.0),
    "sam around adam": (
        lambda p: Sam(torch.optim.Adam(p, lr=0.1, betas=(0.5, 0.9), eps=EPS), rho=0.1, adaptive=False),
        adam,
        0.0,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_that_of_the_recurrence_by_hand_after_clipping(
    sink: Any, only: Any, run_step: Callable[..., Tensor], case: str
) -> None:
    make, law, decay = CASES[case]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model[1].bias.requires_grad_(False)
    optimizer = make([p for p in model.parameters() if p.requires_grad])
    given: dict[str, Array] = {}
    moments: dict[str, Array] = {n: np.zeros(p.shape) for n, p in model.named_parameters()}

    def note(*_: Any) -> None:
        for name, p in model.named_parameters():
            if p.grad is not None:
                given[name] = (p.grad.double() + decay * p.detach().double()).numpy()

    optimizer.register_step_pre_hook(note)
    with ProbeSession(model, optimizer, only("second_moment"), sink=sink, scalars=["loss.train"]) as session:
        for step in range(1, 6):
            scale = 10.0 ** (-step if step < 5 else 2)  # gradients shrink, and then leap up
            loss_of = lambda scale=scale: scale * model(torch.ones(5, 3)).square().mean()  # noqa: E731
            run_step(session, step, model, optimizer, loss_of, clip=2)
            found = sink.at(step, METRIC)
            for name, gradient in given.items():
                moments[name], corrected = law(moments[name], gradient**2, step)
                expected = np.sqrt((gradient**2 / np.maximum(corrected, EPS**2)).mean())
                assert found[name] == pytest.approx(expected, rel=1e-5), (step, name)
            assert is_absent(np.asarray(found["1.bias"]))[()]
    assert max(sink.at(5, METRIC)["0.weight"], sink.at(5, METRIC)["1.weight"]) > 1.5
    assert not optimizer._optimizer_step_post_hooks, "hooks are gone"


def test_amsgrad_and_centered_rmsprop_are_taken_as_they_divide(
    sink: Any, only: Any, run_step: Callable[..., Tensor]
) -> None:
    for make in (
        lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.9, 0.9), amsgrad=True),
        lambda p: torch.optim.RMSprop(p, lr=0.1, alpha=0.5, centered=True),
    ):
        sink.clear()
        parameter = nn.Parameter(torch.tensor([3.0, -2.0]))
        model = nn.ParameterList([parameter])
        optimizer = make(model.parameters())
        with ProbeSession(model, optimizer, only("second_moment"), sink=sink, scalars=["loss.train"]) as session:
            slopes = [8.0, 1.0, 0.5]
            for step, slope in enumerate(slopes, start=1):
                run_step(session, step, model, optimizer, lambda p=parameter, slope=slope: slope * p.sum())
        v = s = mean = largest = 0.0
        for slope in slopes:
            v, s, mean = 0.9 * v + 0.1 * slope**2, 0.5 * s + 0.5 * slope**2, 0.5 * mean + 0.5 * slope
            largest = max(largest, v)
        variance = largest / (1 - 0.9**3) if isinstance(optimizer, torch.optim.Adam) else s - mean**2
        assert sink.frames[3][METRIC][0] == pytest.approx(0.5 / np.sqrt(variance), rel=1e-5)


def test_a_step_that_a_loss_scale_left_out_and_optimizers_without_a_second_moment_have_none(
    sink: Any, only: Any, run_step: Callable[..., Tensor]
) -> None:
    model = nn.Linear(2, 1)
    optimizer: torch.optim.Optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    with ProbeSession(model, optimizer, only("second_moment"), sink=sink, scalars=[]) as session:
        for step, factor in enumerate([1.0, torch.inf, 1.0], start=1):
            session.begin_step(step)
            optimizer.zero_grad()
            scaler.scale(model(torch.ones(1, 2)).sum() * factor).backward()
            scaler.unscale_(optimizer)
            session.after_backward()
            scaler.step(optimizer)
            scaler.update()
            session.after_update()
            session.end_step({}, epoch=0)
    assert list(sink.frames) == [1, 3]
    assert sink.frames[1][METRIC].tolist() == pytest.approx([1, 1])
    sink.clear()
    for optimizer in (
        torch.optim.SGD(model.parameters(), lr=0.1),
        ScheduleFree(model.parameters(), "sgd", lr=1, beta=0),
    ):
        with ProbeSession(model, optimizer, only("second_moment"), sink=sink, scalars=["loss.train"]) as session:
            run_step(session, 1, model, optimizer, lambda: model(torch.ones(1, 2)).sum())
            assert METRIC not in sink.frames.pop(1)


def test_of_several_optimizers_each_parameter_has_its_own(
    sink: Any, only: Any, run_step: Callable[..., Tensor]
) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    parts = [torch.optim.SGD(model[0].parameters(), lr=0.1), torch.optim.AdamW(model[1].parameters())]
    optimizer = Together(parts)
    with ProbeSession(model, optimizer, only("second_moment"), sink=sink, scalars=["loss.train"]) as session:
        run_step(session, 1, model, optimizer, lambda: model(torch.ones(1, 2)).sum())
    assert is_absent(sink.frames[1][METRIC]).tolist() == [True, True, False, False]
    assert sink.at(1, METRIC)["1.weight"] == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("number_format", [torch.float32, torch.bfloat16])
def test_many_elements_half_precision_and_gradients_of_zero(number_format: torch.dtype) -> None:
    drawn = torch.Generator().manual_seed(0)
    gradient = torch.randn(300_001, generator=drawn).to(number_format)
    moment = torch.rand(300_001, generator=drawn).to(number_format)
    gradient[:1000] = moment[:1000] = 0
    found = lag(gradient, Divisor(nn.Parameter(gradient), moment, 0.75, 0.0))
    g, v = gradient.double().numpy(), moment.double().numpy() / 0.75
    expected = np.sqrt(np.divide(g**2, v, out=np.zeros_like(g), where=v > 0).mean())
    assert found.item() == pytest.approx(expected, rel=1e-4)
