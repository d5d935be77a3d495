from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gyrostat.probes.undisturbed import evaluated, undisturbed


class Replacing(nn.Module):
    """Replaces its buffer instead of writing into it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("nothing", None)

    def forward(self, x: Tensor) -> Tensor:
        self.calls = self.calls + 1
        return x


class Noise(nn.Module):
    """Says of itself that it is random in training."""

    stochastic = True

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x) if self.training else x


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), Noise(), Replacing(), nn.AlphaDropout(0.5), nn.Linear(4, 1)
    )


def state(model: nn.Module) -> dict[str, Any]:
    buffers = {name: (id(buffer), buffer.clone()) for name, buffer in model.named_buffers()}
    return {
        "modes": [module.training for module in model.modules()],
        "ids": {name: kept[0] for name, kept in buffers.items()},
        "buffers": {name: kept[1].tolist() for name, kept in buffers.items()},
        "parameters": [p.tolist() for p in model.parameters()],
        "gradients": [p.grad for p in model.parameters()],
        "random": torch.get_rng_state().tolist(),
        "grad mode": torch.is_grad_enabled(),
    }


@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_as_it_was_also_after_an_error(fails: bool) -> None:
    model = network()
    model[5].eval()
    before = state(model)
    with torch.no_grad():
        outcome = pytest.raises(RuntimeError, match="inside") if fails else nullcontext()
        with outcome, undisturbed(model):
            torch.randn(5)
            loss = model(torch.randn(6, 3)).square().mean()
            torch.autograd.grad(loss, list(model.parameters()))
            assert int(model[1].num_batches_tracked) == 1
            if fails:
                raise RuntimeError("inside")
    assert state(model) == before


def test_inside_dropout_is_off_and_batch_statistics_are_the_batchs() -> None:
    model = network()
    x = torch.randn(6, 3) * 5 + 7
    with undisturbed(model):
        assert torch.equal(model(x), model(x))
        torch.testing.assert_close(model[:2](x).mean(0), torch.zeros(4), atol=1e-5, rtol=0)
        assert model.training
        assert not model[2].training


class Holding(nn.Module):
    """Holds a module that is not among its children, and tells it the mode."""

    def __init__(self) -> None:
        super().__init__()
        self.held = (nn.Dropout(0.5),)

    def train(self, mode: bool = True) -> "Holding":
        self.held[0].train(mode)
        return super().train(mode)


@pytest.mark.parametrize("fails", [False, True])
def test_evaluated_is_eval_mode_and_all_is_as_it_was_also_after_an_error(fails: bool) -> None:
    model = network().append(holding := Holding())
    model[5].eval()
    before = state(model)
    outcome = pytest.raises(RuntimeError, match="inside") if fails else nullcontext()
    with outcome, evaluated(model):
        torch.randn(5)
        assert not any(module.training for module in (*model.modules(), *holding.held))
        model[4](torch.ones(1))
        model[1].running_mean.add_(1)
        if fails:
            raise RuntimeError("inside")
    assert state(model) == before
    assert holding.held[0].training
