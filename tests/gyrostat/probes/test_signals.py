from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gyrostat.probes import ProbeSession
from gyrostat.wire.values import is_absent

METRIC = "activation.gradient_rms"


class Twice(nn.Module):
    """A layer called twice, with an in-place activation behind it, one never called, and an output without gradient."""

    def __init__(self, recompute: bool | None = None) -> None:
        super().__init__()
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.shared = nn.Linear(4, 4)
        self.relu = nn.ReLU(inplace=True)
        self.unused = nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)
        self.recompute = recompute

    def inner(self, x: Tensor) -> Tensor:
        return self.relu(self.shared(x) * 1.0)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        h = self.frozen(x)
        for _ in range(2):
            reentrant = self.recompute
            h = self.inner(h) if reentrant is None else checkpoint(self.inner, h, use_reentrant=reentrant)
        return self.head(h)  # type: ignore[no-any-return]


def captured(model: nn.Module) -> dict[str, list[Tensor]]:
    """Gradients by an own way: a tensor that requires a gradient is added to each output, and keeps it."""
    added: dict[str, list[Tensor]] = {}

    def hook(module: nn.Module, arguments: Any, output: Tensor, name: str) -> Tensor | None:
        if not output.requires_grad:
            return None
        zeros = torch.zeros_like(output, requires_grad=True)
        added.setdefault(name, []).append(zeros)
        return output + zeros

    for name, module in model.named_modules():
        if not list(module.children()) and not isinstance(module, nn.ReLU):
            module.register_forward_hook(lambda m, a, o, n=name: hook(m, a, o, n))
    return added


def rms(gradients: list[Tensor]) -> float:
    x = np.concatenate([g.double().numpy().ravel() for g in gradients])
    return float(np.sqrt((x**2).mean()))


def batches(seed: int = 1) -> Callable[[], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(5, 4, generator=generator)


@pytest.mark.parametrize("recompute", [None, False, True])
def test_signals_are_autograds_over_all_calls_and_micro_batches(
    sink: Any, only: Any, run_step: Callable[..., Tensor], recompute: bool | None
) -> None:
    torch.manual_seed(0)
    plain, model = Twice(), Twice(recompute)
    model.load_state_dict(plain.state_dict())
    added, reference_batch, batch = captured(plain), batches(), batches()
    for _ in range(2):
        (plain(reference_batch().requires_grad_()).square().mean() / 2).backward()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ProbeSession(model, optimizer, only("signals"), sink=sink, scalars=["loss.train"]) as session:
        loss_of = lambda: model(batch().requires_grad_()).square().mean()  # noqa: E731
        run_step(session, 1, model, optimizer, loss_of, micro_batches=2)
    assert not sink.events
    found = sink.at(1, METRIC)
    for name in ("frozen", "shared", "head"):
        expected = rms([zeros.grad for zeros in added[name] if zeros.grad is not None])
        assert found[name] == pytest.approx(expected, rel=1e-5), name
    assert set(found) == {"frozen", "shared", "relu", "head"}


def test_an_output_that_needs_no_gradient_is_absent(sink: Any, only: Any, run_step: Callable[..., Tensor]) -> None:
    model = Twice()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ProbeSession(model, optimizer, only("signals", "activations"), sink=sink, scalars=["loss.train"]) as session:
        run_step(session, 1, model, optimizer, lambda: model(torch.randn(5, 4)).square().mean())
    found = sink.at(1, METRIC)
    assert {name for name, value in found.items() if is_absent(value)} == {"frozen"}


@pytest.mark.parametrize("ranks", [1, 4])
def test_loss_scale_and_ranks_are_divided_out(
    sink: Any, only: Any, run_step: Callable[..., Tensor], ranks: int
) -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    inputs = torch.randn(6, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    scale = torch.tensor(1024.0)
    with ProbeSession(
        model, optimizer, only("signals"), sink=sink, scalars=["loss.train"], ranks=ranks, loss_scale=lambda: scale
    ) as session:
        run_step(session, 1, model, optimizer, lambda: model(inputs).sum() * scale)
    assert sink.frames[1][METRIC] == pytest.approx([1 / ranks])


@pytest.mark.parametrize("scale", [0.0, torch.tensor(0.0)])
def test_a_loss_scale_that_vanished_leaves_nothing_to_tell_until_it_is_back(
    sink: Any, only: Any, run_step: Callable[..., Tensor], scale: float | Tensor
) -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    inputs, scales = torch.randn(6, 3), [scale, 1.0]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with ProbeSession(
        model, optimizer, only("signals"), sink=sink, scalars=["loss.train"], loss_scale=lambda: scales[0]
    ) as session:
        run_step(session, 1, model, optimizer, lambda: model(inputs).sum() * scales[0])
        del scales[0]
        run_step(session, 2, model, optimizer, lambda: model(inputs).sum() * scales[0])
    assert not sink.events
    assert np.isnan(sink.frames[1][METRIC]).all()
    assert sink.frames[2][METRIC] == pytest.approx([1])


def test_a_penaltys_inner_pass_does_not_count(sink: Any, only: Any, run_step: Callable[..., Tensor]) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    inputs = torch.randn(6, 3, requires_grad=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)

    def loss_of(weight: float) -> Tensor:
        output = model(inputs)
        (slope,) = torch.autograd.grad(1000 * output.sum(), inputs, create_graph=True)
        return output.sum() + weight * slope.square().sum()  # type: ignore[no-any-return]

    with ProbeSession(model, optimizer, only("signals"), sink=sink, scalars=["loss.train"]) as session:
        run_step(session, 1, model, optimizer, lambda: loss_of(0.0))
    assert sink.at(1, METRIC)["2"] == 1


def test_signals_survive_the_end_of_the_forward_passes_and_no_hook_stays(sink: Any, only: Any) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Identity())
    inputs = torch.randn(4, 3)
    with ProbeSession(model, torch.optim.SGD(model.parameters()), only("signals"), sink=sink, scalars=[]) as session:
        session.begin_step(1)
        loss = model(inputs).sum()
        session.after_forward()
        another = model(inputs).sum() * 100  # a second pass of the step, as sharpness-aware minimization makes it
        loss.backward()
        another.backward()
        session.after_backward()
        session.end_step({}, epoch=0)
        assert not any(module._forward_hooks for module in model.modules())
    assert sink.frames[1][METRIC].tolist() == [1, 1]
