from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gyrostat.probes import ProbeSession
from gyrostat.probes.probe_batch import ProbeBatch


def measured(model: nn.Module, tensors: tuple[Tensor, ...], sink: Any, only: Any, loss: Any = None) -> dict[str, float]:
    criterion = loss or (lambda batch: nn.functional.mse_loss(model(batch[0]), batch[1]))
    with ProbeSession(
        model,
        torch.optim.SGD(model.parameters()),
        only("input_gradient"),
        sink=sink,
        scalars=["loss.train"],
        probe_batch=ProbeBatch(tensors=lambda: tensors, loss_of=criterion),
    ) as session:
        session.begin_step(1)
        session.after_update()
        session.end_step({"loss.train": 0.0}, epoch=0)
    assert not sink.events
    return {name: float(value[0]) for name, value in sink.frames[1].items()}


def test_of_a_linear_model_it_is_the_closed_form(sink: Any, only: Any) -> None:
    torch.manual_seed(0)
    model = nn.Linear(5, 1)
    x, y = torch.randn(7, 5), torch.randn(7, 1)
    found = measured(model, (x, y), sink, only)
    weight = model.weight.detach().double().numpy()
    residual = x.double().numpy() @ weight.T + model.bias.detach().double().numpy() - y.double().numpy()
    each = 2 * np.abs(residual[:, 0]) * np.linalg.norm(weight)
    assert found["lipschitz.input_gradient_norm"] == pytest.approx(each.mean(), rel=1e-5)
    assert found["lipschitz.input_gradient_max"] == pytest.approx(each.max(), rel=1e-5)


def test_it_is_that_of_each_sample_alone_though_the_model_normalizes_drops_and_works_in_place(
    sink: Any, only: Any
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
    model(torch.randn(30, 6))
    x, y = torch.randn(5, 6), torch.randn(5, 2)
    before, state = x.clone(), {n: t.clone() for n, t in model.state_dict().items()}
    found = measured(model, (x, y), sink, only)
    assert all(module.training for module in model.modules())
    assert torch.equal(x, before)
    assert all(torch.equal(t, state[n]) for n, t in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    model.eval().double()
    each = []
    for sample, target in zip(x.double(), y.double(), strict=True):
        one = sample[None].clone().requires_grad_()
        loss = nn.functional.mse_loss(model(one.clone()), target[None])
        each.append(float(torch.autograd.grad(loss, one)[0].norm()))
    assert found["lipschitz.input_gradient_norm"] == pytest.approx(np.mean(each), rel=1e-5)
    assert found["lipschitz.input_gradient_max"] == pytest.approx(max(each), rel=1e-5)


def test_there_is_none_of_tokens_and_of_what_the_loss_does_not_depend_on(sink: Any, only: Any) -> None:
    model = nn.Embedding(9, 3)
    tokens = torch.randint(9, (4, 2))
    assert set(measured(model, (tokens,), sink, only, lambda batch: model(batch[0]).square().mean())) == {"loss.train"}
    sink.clear()
    other = nn.Linear(3, 3)
    assert set(measured(other, (torch.ones(2, 3),), sink, only, lambda batch: other.weight.square().mean())) == {
        "loss.train"
    }
