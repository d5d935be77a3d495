from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gyrostat.probes import ProbeSession
from gyrostat.probes.stability import limit


def full_hessian(model: nn.Module, loss_of: Callable[[], Tensor]) -> np.ndarray:
    """By torch.func and autograd's own dense Hessian, in float64."""
    model.double()
    parameters = {n: p.detach() for n, p in model.named_parameters()}
    sizes = [p.numel() for p in parameters.values()]

    def flat_loss(vector: Tensor) -> Tensor:
        parts = torch.split(vector, sizes)
        named = {n: part.view(p.shape) for (n, p), part in zip(parameters.items(), parts, strict=True)}
        return torch.func.functional_call(model, named, (INPUTS.double(),)).sub(TARGETS.double()).square().mean()

    flat = torch.cat([p.reshape(-1) for p in parameters.values()])
    hessian = torch.autograd.functional.hessian(flat_loss, flat).numpy()
    model.float()
    return hessian  # type: ignore[no-any-return]


INPUTS = torch.randn(30, 4, generator=torch.Generator().manual_seed(3))
TARGETS = torch.randn(30, 3, generator=torch.Generator().manual_seed(4))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.Softplus(), nn.Linear(5, 3))


def loss_on(model: nn.Module) -> Callable[[], Tensor]:
    return lambda: (model(INPUTS) - TARGETS).square().mean()


def test_sharpness_is_the_largest_eigenvalue_of_the_full_hessian_all_through_a_training(
    sink: Any, only: Any, run_step: Callable[..., Tensor]
) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    loss_of = loss_on(model)
    with ProbeSession(
        model, optimizer, only("curvature"), sink=sink, scalars=["loss.train"], probe_loss=loss_of
    ) as session:
        for step in range(1, 13):
            run_step(session, step, model, optimizer, loss_of)
            frame = sink.frames[step]
            true = np.linalg.eigvalsh(full_hessian(model, loss_of))[-1]
            assert frame["curvature.sharpness"][0] == pytest.approx(true, rel=0.01)
            bound = (2 + 2 * 0.9) / 0.2
            assert frame["curvature.limit"][0] == pytest.approx(bound)
            assert frame["curvature.sharpness_over_limit"][0] == pytest.approx(true / bound, rel=0.01)
            assert "curvature.preconditioned_sharpness" not in frame
    assert not sink.events


def test_for_adamw_the_preconditioned_sharpness_is_that_of_the_full_matrix_too(
    sink: Any, only: Any, run_step: Callable[..., Tensor]
) -> None:
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, betas=(0.9, 0.99), eps=1e-4)
    loss_of = loss_on(model)
    with ProbeSession(
        model,
        optimizer,
        only("curvature", max_products=100),
        sink=sink,
        scalars=["loss.train"],
        probe_loss=loss_of,
    ) as session:
        for step in range(1, 8):
            run_step(session, step, model, optimizer, loss_of)
            hessian, frame = full_hessian(model, loss_of), sink.frames[step]
            second = torch.cat([optimizer.state[p]["exp_avg_sq"].reshape(-1) for p in model.parameters()]).double()
            root = np.sqrt(second.numpy() / (1 - 0.99**step)) + 1e-4
            scale = 1 / np.sqrt(root * (1 - 0.9**step))
            true = np.linalg.eigvalsh(scale[:, None] * hessian * scale)[-1]
            assert frame["curvature.sharpness"][0] == pytest.approx(np.linalg.eigvalsh(hessian)[-1], rel=0.01)
            assert frame["curvature.preconditioned_sharpness"][0] == pytest.approx(true, rel=0.01)
            bound = limit(optimizer)
            assert bound is not None
            assert frame["curvature.sharpness_over_limit"][0] == pytest.approx(true / bound, rel=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_for_linear_regression_it_is_twice_the_largest_eigenvalue_of_the_gram_matrix(
    sink: Any, only: Any, dtype: torch.dtype
) -> None:
    x = torch.randn(50, 8, generator=torch.Generator().manual_seed(0)).to(dtype) * torch.arange(1, 9)
    y = torch.ones(50, 1, dtype=dtype)
    model = nn.Linear(8, 1, bias=False, dtype=dtype)
    with ProbeSession(
        model,
        torch.optim.SGD(model.parameters(), lr=0.0),
        only("curvature"),
        sink=sink,
        scalars=[],
        probe_loss=lambda: (model(x) - y).square().mean(),
    ) as session:
        session.begin_step(1)
        session.after_backward()
        session.after_update()
        session.end_step({}, epoch=0)
    gram = x.double().numpy().T @ x.double().numpy() / 50
    assert sink.frames[1]["curvature.sharpness"][0] == pytest.approx(2 * np.linalg.eigvalsh(gram)[-1], rel=0.01)
    assert set(sink.frames[1]) == {"curvature.sharpness"}  # a rate of 0, as at the start of a warm-up, has no limit


class Saddle(nn.Module):
    """Curvatures -9, -2, 1.5 and 0.5: the largest magnitude is negative."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))

    def forward(self) -> Tensor:
        return (torch.tensor([-9.0, -2.0, 1.5, 0.5]) * self.weight**2).sum() / 2


def one_measurement(sink: Any, settings: Any, model: nn.Module, loss_of: Callable[[], Tensor], **changes: Any) -> None:
    optimizer = changes.get("optimizer") or torch.optim.SGD(model.parameters(), lr=0.1)
    with ProbeSession(model, optimizer, settings, sink=sink, scalars=[], probe_loss=loss_of) as session:
        session.begin_step(1)
        session.after_backward()
        session.after_update()
        session.end_step({}, epoch=0)


def test_a_dominant_negative_eigenvalue_is_not_taken_for_the_sharpness(sink: Any, only: Any) -> None:
    model = Saddle()
    one_measurement(sink, only("curvature"), model, model)
    assert sink.frames[1]["curvature.sharpness"][0] == pytest.approx(1.5, rel=0.01)


def test_frozen_parameters_are_left_out(sink: Any, only: Any) -> None:
    model = network()
    model[0].requires_grad_(False)
    one_measurement(sink, only("curvature"), model, loss_on(model))
    true = np.linalg.eigvalsh(full_hessian(model, loss_on(model))[30:, 30:])[-1]
    assert sink.frames[1]["curvature.sharpness"][0] == pytest.approx(true, rel=0.01)


def test_a_loss_that_is_nan_gives_nan_and_the_next_measurement_is_right_again(sink: Any, only: Any) -> None:
    model = Saddle()
    factors = iter([1.0, torch.nan, 1.0])
    with ProbeSession(
        model,
        torch.optim.SGD(model.parameters(), lr=0.1),
        only("curvature"),
        sink=sink,
        scalars=[],
        probe_loss=lambda: next(factors) * model(),
    ) as session:
        for step in (1, 2, 3):
            session.begin_step(step)
            session.after_update()
            session.end_step({}, epoch=0)
    assert np.isnan(sink.frames[2]["curvature.sharpness"]).all()
    assert np.isnan(sink.frames[2]["curvature.sharpness_over_limit"]).all()
    assert sink.frames[3]["curvature.sharpness"][0] == pytest.approx(1.5, rel=0.01)


class Attention(nn.Module):
    """Fused attention kernels have no second derivative."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).view(2, 5, 3, 2, 4).permute(2, 0, 3, 1, 4)
        return nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def test_attention_has_a_sharpness(sink: Any, only: Any) -> None:
    torch.manual_seed(0)
    model = Attention()
    one_measurement(sink, only("curvature"), model, lambda: model(torch.ones(2, 5, 8)).square().mean())
    assert not sink.events
    assert sink.frames[1]["curvature.sharpness"][0] > 0


def test_without_a_probe_loss_nothing_is_measured(sink: Any, only: Any) -> None:
    model = network()
    with ProbeSession(model, torch.optim.SGD(model.parameters()), only("curvature"), sink=sink, scalars=[]) as session:
        session.begin_step(1)
        session.after_update()
        session.end_step({}, epoch=0)
    assert not sink.frames
    assert not sink.events


def test_a_second_eigenvalue_that_overtakes_is_seen_within_five_measurements(sink: Any, only: Any) -> None:
    scale = torch.linspace(0, 0.5, 50)
    scale[0], scale[1] = 1.0, 0.9
    model = nn.Module()
    model.weight = nn.Parameter(torch.ones(50))
    with ProbeSession(
        model,
        torch.optim.SGD(model.parameters(), lr=0.1),
        only("curvature"),
        sink=sink,
        scalars=[],
        probe_loss=lambda: (scale * model.weight**2).sum() / 2,
    ) as session:
        for step in range(1, 9):
            if step == 3:
                scale[1] = 1.3
            session.begin_step(step)
            session.after_update()
            session.end_step({}, epoch=0)
    assert sink.frames[2]["curvature.sharpness"][0] == pytest.approx(1.0, rel=0.01)
    assert sink.frames[7]["curvature.sharpness"][0] == pytest.approx(1.3, rel=0.01)
