from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gyrostat.probes import ProbeSession
from gyrostat.probes.probe_batch import ProbeBatch
from gyrostat.wire.values import is_absent

GAPS = ("normalization.statistic_gap", "normalization.mean_gap", "normalization.scale_gap")


class Normalizing(nn.Module):
    """Batch normalization of features and of images, one cumulative, one frozen, one not called, one without memory."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.BatchNorm1d(6, momentum=0.3, eps=1e-3)
        self.images = nn.BatchNorm2d(2, momentum=None)
        self.frozen = nn.BatchNorm1d(6).eval()
        self.unused = nn.BatchNorm1d(6)
        self.forgetful = nn.BatchNorm1d(6, track_running_stats=False)
        self.linear = nn.Linear(6, 6)
        self.seen: dict[str, list[Tensor]] = {"features": [], "images": []}

    def forward(self, x: Tensor) -> Tensor:
        self.seen["features"].append(x.detach().double())
        x = self.linear(self.features(x))
        image = x.reshape(len(x), 2, 3, 1)
        self.seen["images"].append(image.detach().double())
        return self.forgetful(self.frozen(self.images(image).flatten(1)))  # type: ignore[no-any-return]


def normal(samples: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    return samples.mean(0), samples.var(0, ddof=1) + eps


def divergence(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """KL(one‖other) of normal distributions with these means and variances."""
    (m, v), (n, w) = one, other
    return (np.log(w / v) + (v + (m - n) ** 2) / w - 1) / 2


def channels(tensor: Tensor) -> np.ndarray:
    return tensor.movedim(1, -1).reshape(-1, tensor.shape[1]).numpy()


def test_gaps_are_those_of_the_batch_s_own_statistics(sink: Any, only: Any, run_step: Callable[..., Tensor]) -> None:
    torch.manual_seed(0)
    model = Normalizing()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    with ProbeSession(model, optimizer, only("statistics"), sink=sink, scalars=["loss.train"]) as session:
        for step in range(1, 5):
            running = {
                name: (layer.running_mean.double().numpy().copy(), layer.running_var.double().numpy() + layer.eps)
                for name, layer in model.named_children()
                if name in model.seen
            }
            model.seen = {"features": [], "images": []}
            x = torch.randn(20, 6) * torch.arange(1, 7) + step
            run_step(session, step, model, optimizer, lambda x=x: model(x).square().mean())
            for name, ours in running.items():
                batch = normal(channels(model.seen[name][0]), model.get_submodule(name).eps)
                expected = (
                    np.mean(divergence(batch, ours) + divergence(ours, batch)),
                    np.sqrt(np.mean((batch[0] - ours[0]) ** 2 / ours[1])),
                    np.sqrt(np.mean(np.log(np.sqrt(batch[1] / ours[1])) ** 2)),
                )
                for metric, value in zip(GAPS, expected, strict=True):
                    assert sink.at(step, metric)[name] == pytest.approx(value, rel=2e-4, abs=1e-6), (step, name, metric)
    for metric in GAPS:
        absent = {name for name, value in sink.at(4, metric).items() if is_absent(np.asarray(value))[()]}
        assert absent == {"frozen", "forgetful", "linear"}  # what is not called is not on the axis


def test_several_batches_of_a_step_count_by_their_weights_in_the_running_statistics(
    sink: Any, only: Any, run_step: Callable[..., Tensor]
) -> None:
    torch.manual_seed(0)
    model = nn.BatchNorm1d(3, momentum=0.25)
    batches = [torch.randn(9, 3) + shift for shift in (0.0, 1.0, 3.0)]
    turn = iter(batches)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ProbeSession(model, optimizer, only("statistics"), sink=sink, scalars=["loss.train"]) as session:
        run_step(session, 1, model, optimizer, lambda: model(next(turn)).sum(), micro_batches=3)
    shares = np.array([0.25 * 0.75**2, 0.25 * 0.75, 0.25]) / (1 - 0.75**3)
    mean = shares @ np.stack([batch.mean(0).numpy() for batch in batches])
    gap = np.sqrt(np.mean(mean**2 / (1 + model.eps)))
    assert next(iter(sink.at(1, "normalization.mean_gap").values())) == pytest.approx(gap, rel=1e-5)


def test_running_statistics_that_have_settled_leave_no_gap_and_a_shift_of_the_data_shows(
    sink: Any, only: Any, run_step: Callable[..., Tensor]
) -> None:
    torch.manual_seed(0)
    model = nn.BatchNorm1d(4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    data = torch.randn(4000, 4) * 3 + 5
    with ProbeSession(model, optimizer, only("statistics"), sink=sink, scalars=["loss.train"]) as session:
        for step in range(1, 101):
            run_step(session, step, model, optimizer, lambda: model(data).sum())
        run_step(session, 101, model, optimizer, lambda: model(data + 6).sum())
    assert sink.frames[100]["normalization.statistic_gap"][0] < 1e-5
    # 6 is two standard deviations: each direction's divergence is 2²/2
    assert sink.frames[101]["normalization.statistic_gap"][0] == pytest.approx(4, rel=0.01)
    assert sink.frames[101]["normalization.mean_gap"][0] == pytest.approx(2, rel=0.01)
    assert sink.frames[101]["normalization.scale_gap"][0] < 0.01


def compared(model: nn.Module, x: Tensor, y: Tensor, sink: Any, only: Any) -> dict[str, np.ndarray]:
    def loss_of(batch: tuple[Tensor, ...]) -> Tensor:
        return nn.functional.mse_loss(model(batch[0]), batch[1])

    with ProbeSession(
        model,
        torch.optim.SGD(model.parameters()),
        only("modes"),
        sink=sink,
        scalars=["loss.train"],
        probe_batch=ProbeBatch(tensors=lambda: (x, y), loss_of=loss_of),
    ) as session:
        session.begin_step(1)
        session.after_update()
        session.end_step({"loss.train": 0.0}, epoch=0)
    assert not sink.events
    return dict(sink.frames[1])


def test_modes_are_compared_on_outputs_and_loss_and_left_as_they_were(sink: Any, only: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Dropout(0.4), nn.Linear(9, 2))
    x, y = torch.randn(16, 4) + 2, torch.randn(16, 2)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = compared(model, x, y, sink, only)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert not model._forward_hooks
    model[3].eval()
    with torch.no_grad():
        train = model(x)
        model.load_state_dict(state)
        plain = model.eval()(x)
    gap = float((plain - train).norm() / train.norm())
    losses = [float(nn.functional.mse_loss(outputs, y)) for outputs in (train, plain)]
    assert gap > 0.1
    assert found["normalization.output_gap"][0] == pytest.approx(gap, rel=1e-5)
    assert found["normalization.loss_gap"][0] == pytest.approx((losses[1] - losses[0]) / losses[0], rel=1e-4)


class Forces(nn.Sequential):
    """The slope of what its modules add up to, as nets of energies answer."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(super().forward(x).sum(), x, create_graph=True)
        return slope


def test_modes_are_compared_of_what_differentiates_by_itself(sink: Any, only: Any) -> None:
    torch.manual_seed(0)
    model = Forces(nn.Linear(4, 9), nn.BatchNorm1d(9), nn.Tanh(), nn.Linear(9, 1))
    x, y = torch.randn(16, 4) + 2, torch.randn(16, 4)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = compared(model, x, y, sink, only)
    train = model(x).detach()
    model.load_state_dict(state)
    plain = model.eval()(x).detach()
    assert found["normalization.output_gap"][0] == pytest.approx(float((plain - train).norm() / train.norm()), rel=1e-5)


def test_models_without_running_statistics_have_nothing_to_compare(sink: Any, only: Any) -> None:
    model = nn.Sequential(
        nn.Linear(4, 4), nn.LayerNorm(4), nn.Dropout(0.5), nn.BatchNorm1d(4, track_running_stats=False)
    )
    assert set(compared(model, torch.randn(8, 4), torch.randn(8, 4), sink, only)) == {"loss.train"}
