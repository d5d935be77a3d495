from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian
from torch.func import functional_call

from gyrostat.probes import ProbeSession, kernel
from gyrostat.probes.kernel import ntk, projected_ntk, signs
from gyrostat.probes.probe_batch import ProbeBatch
from gyrostat.spec.linearized import Linearized
from trainer.stabilizers.linearized import linearize

INPUTS = torch.randn(20, 1, 4, 4, generator=torch.Generator().manual_seed(3))
LABELS = torch.arange(20) % 3


def convolutional() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3),
        nn.BatchNorm2d(3),
        nn.Tanh(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(12, 3),
    )


def batch_of(model: nn.Module, loss_of: Callable[..., Tensor] | None = None) -> ProbeBatch:
    def cross_entropy(tensors: tuple[Tensor, ...]) -> Tensor:
        return nn.functional.cross_entropy(model(tensors[0]), tensors[1])

    return ProbeBatch(tensors=lambda: (INPUTS, LABELS), loss_of=loss_of or cross_entropy)


def session_of(
    sink: Any, settings: Any, model: nn.Module, loss_of: Callable[..., Tensor] | None = None
) -> ProbeSession:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    return ProbeSession(model, optimizer, settings, sink=sink, scalars=[], probe_batch=batch_of(model, loss_of))


def measure(session: ProbeSession, step: int) -> None:
    session.begin_step(step)
    session.after_backward()
    session.after_update()
    session.end_step({}, epoch=0)


def move(model: nn.Module, by: float = 0.3) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += by * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(8))


def explicit(model: nn.Module, inputs: Tensor) -> np.ndarray:
    """By the dense Jacobian of all outputs of each sample alone, projected afterwards; in float64 and eval mode."""
    model.double().eval()
    parameters = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    rows = []
    for x in inputs.double():
        blocks = jacobian(
            lambda *values, x=x: functional_call(model, dict(zip(parameters, values, strict=True)), x[None]).flatten(),
            tuple(parameters.values()),
        )
        rows.append(torch.cat([block.flatten(1) for block in blocks], 1))
    model.float().train()
    project = signs(len(rows[0])).double() / len(rows[0]) ** 0.5
    full = torch.stack([project @ row for row in rows]).numpy()
    return full @ full.T  # type: ignore[no-any-return]


def test_the_spectrum_is_that_of_explicit_jacobians_and_drift_is_from_the_start(sink: Any, only: Any) -> None:
    model = convolutional()
    model[1].running_var.fill_(2.0)
    first = explicit(model, INPUTS[:6])
    with session_of(sink, only("kernel", samples=6), model) as session:
        last = first
        for step in (1, 2):
            move(model)
            measure(session, step)
            now, frame = explicit(model, INPUTS[:6]), sink.frames[step]
            values = np.linalg.eigvalsh(now)
            share = values / values.sum()
            assert frame["kernel.largest_eigenvalue"][0] == pytest.approx(values[-1], rel=1e-5)
            assert frame["kernel.trace"][0] == pytest.approx(np.trace(now), rel=1e-5)
            assert frame["kernel.condition_number"][0] == pytest.approx(values[-1] / values[0], rel=1e-3)
            assert frame["kernel.effective_rank"][0] == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-4)
            assert frame["kernel.drift"][0] == pytest.approx(
                np.linalg.norm(now - first) / np.linalg.norm(first), rel=1e-4
            )
            for metric, before in (("kernel.distance", first), ("kernel.last_distance", last)):
                expected = 1 - (now * before).sum() / np.linalg.norm(now) / np.linalg.norm(before)
                assert frame[metric][0] == pytest.approx(expected, rel=1e-3)
                assert expected > 1e-3
            last = now
    assert not sink.events


@pytest.mark.parametrize("outputs", [1, 5])
def test_a_one_layer_net_has_its_closed_form_whatever_its_weights(sink: Any, only: Any, outputs: int) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, outputs))
    with session_of(sink, only("kernel"), model, lambda tensors: model(tensors[0]).square().mean()) as session:
        move(model)
        measure(session, 1)
    x = INPUTS[:16].flatten(1).double().numpy()
    values = np.linalg.eigvalsh(x @ x.T + 1)
    assert sink.frames[1]["kernel.largest_eigenvalue"][0] == pytest.approx(values[-1], rel=1e-6)
    assert sink.frames[1]["kernel.condition_number"][0] == pytest.approx(values[-1] / values[0], rel=1e-4)
    assert sink.frames[1]["kernel.drift"][0] < 1e-6


def test_more_samples_than_parameters_have_the_largest_condition_that_is_told(sink: Any, only: Any) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 1, bias=False))
    with torch.no_grad():
        scaled = INPUTS.clone()
        scaled[1] = 3 * scaled[0]
    batch = ProbeBatch(tensors=lambda: (scaled, LABELS), loss_of=lambda tensors: model(tensors[0]).mean())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with ProbeSession(model, optimizer, only("kernel"), sink=sink, scalars=[], probe_batch=batch) as session:
        measure(session, 1)
    assert sink.frames[1]["kernel.condition_number"][0] == pytest.approx(1e12)


def test_linearized_training_does_not_drift(sink: Any, only: Any) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3))
    for model, drifts in ((plain, True), (linearize(plain, Linearized()), False)):
        sink.clear()
        with session_of(sink, only("kernel"), model) as session:
            move(model)
            measure(session, 1)
        assert not sink.events
        assert (sink.frames[1]["kernel.drift"][0] > 0.1) == drifts
        assert (sink.frames[1]["kernel.drift"][0] < 1e-6) != drifts


def test_the_projection_is_one_of_the_whole_kernel() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 7)).double(), torch.randn(5, 4).double()
    whole = ntk(model, (x,)).view(5, 7, 5, 7)
    project = signs(7).double()
    expected = torch.einsum("iajb,a,b->ij", whole, project, project) / 7
    torch.testing.assert_close(projected_ntk(model(x), list(model.parameters())), expected)
    assert set(signs(7).tolist()) == {-1, 1}


def test_over_signs_the_mean_is_that_of_the_outputs_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 100)).double(), torch.randn(3, 4).double()
    mean = torch.einsum("ikjk->ij", ntk(model, (x,)).view(3, 100, 3, 100)) / 100
    drawn = []
    for seed in range(30):
        source = torch.Generator().manual_seed(seed)
        monkeypatch.setattr(kernel, "signs", lambda n, source=source: torch.randint(2, (n,), generator=source) * 2 - 1)
        drawn.append(projected_ntk(model(x), list(model.parameters())))
    errors = [((each - mean).norm() / mean.norm()).item() for each in drawn]
    assert max(errors) < 0.3
    assert np.mean(errors) < 0.12, "what one draw costs with a hundred outputs"
    assert (torch.stack(drawn).mean(0) - mean).norm() / mean.norm() < 0.05


class Tied(nn.Module):
    """One weight in two layers, one of them called twice; a frozen layer, one never called, two inputs, a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.tied, self.frozen, self.never = (nn.Linear(4, 4, bias=False) for _ in range(4))
        self.tied.weight = self.one.weight
        self.frozen.requires_grad_(False)

    def forward(self, x: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        once = self.tied(self.one(x)).tanh() * scale
        return self.frozen(self.one(once)), once


def test_tied_frozen_and_unused_parameters_and_structured_outputs(sink: Any, only: Any) -> None:
    torch.manual_seed(0)
    model, scale = Tied(), torch.rand(20, 1)

    def loss_of(tensors: tuple[Tensor, ...]) -> Tensor:
        with torch.no_grad():
            model(torch.ones(9, 4), torch.ones(9, 1))  # as where samples are made that nothing is learnt from
        return model(tensors[0][:, 0, 0], scale[: len(tensors[0])])[0].square().mean()

    with session_of(sink, only("kernel", samples=5), model, loss_of) as session:
        measure(session, 1)
    assert not sink.events
    x, project = INPUTS[:5, 0, 0], signs(4) / 2.0

    def outputs(weight: Tensor) -> Tensor:
        once = (x @ weight.T @ weight.T).tanh() * scale[:5]
        return once @ weight.T @ model.frozen.weight.T @ project

    rows = jacobian(outputs, model.one.weight.detach()).flatten(1).double().numpy()
    assert sink.frames[1]["kernel.trace"][0] == pytest.approx((rows**2).sum(), rel=1e-5)
    assert sink.frames[1]["kernel.largest_eigenvalue"][0] == pytest.approx(np.linalg.norm(rows, 2) ** 2, rel=1e-5)


def test_the_model_is_left_as_it_was(sink: Any, only: Any) -> None:
    model = convolutional()
    state, random = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    with session_of(sink, only("kernel"), model) as session:
        measure(session, 1)
    assert not sink.events
    assert all(module.training and not module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_memory_bounds_the_samples_and_a_model_too_large_for_four_is_told_once(
    sink: Any, only: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    each = (16 * 3 + 3) * 4
    monkeypatch.setattr(kernel, "MAX_JACOBIAN_BYTES", 6 * each)
    with session_of(sink, only("kernel"), model) as session:
        measure(session, 1)
    assert session.state_dict()["probes"]["kernel"]["last"].shape == (6, 6)
    monkeypatch.setattr(kernel, "MAX_JACOBIAN_BYTES", 4 * each - 1)
    sink.clear()
    with session_of(sink, only("kernel"), model) as session:
        measure(session, 1)
        measure(session, 2)
    assert [(name, step) for name, step, _ in sink.events] == [("probe_disabled", 0)]
    assert "816 bytes" in sink.events[0][2]["reason"]
    assert not sink.frames


def test_kernels_are_kept_over_a_checkpoint(sink: Any, only: Any) -> None:
    model = convolutional()
    with session_of(sink, only("kernel"), model) as session:
        move(model)
        measure(session, 1)
        kept = session.state_dict()
        move(model)
        measure(session, 2)
    whole = sink.frames[2]
    sink.clear()
    resumed = session_of(sink, only("kernel"), model)
    resumed.load_state_dict(kept)
    with resumed as session:
        measure(session, 2)
    assert sink.frames[2] == whole


def test_kernels_that_are_zero_or_not_finite_or_not_there(sink: Any, only: Any) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.ReLU())
    with torch.no_grad():
        model[1].bias.fill_(-100)
    with session_of(sink, only("kernel"), model) as session:
        measure(session, 1)
        model[2] = nn.Tanh()
        with torch.no_grad():
            model[1].weight.fill_(torch.nan)
        measure(session, 2)
    assert sink.frames[1] == {"kernel.largest_eigenvalue": 0, "kernel.trace": 0}
    assert {"kernel.trace", "kernel.condition_number"} <= set(sink.frames[2])
    assert all(np.isnan(value).all() for value in sink.frames[2].values())
    sink.clear()
    with session_of(sink, only("kernel"), model, lambda tensors: model[1].weight.sum()) as session:
        measure(session, 1)
    assert not sink.frames
    assert not sink.events
