import pytest
import torch
from torch import nn

from gyrostat.spec.systems import Accumulation
from trainer.stabilizers.systems import micro_batches


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_accumulated_gradients_equal_those_of_the_whole_batch(steps):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 1)).double()
    inputs, targets = torch.randn(8, 5).double(), torch.randn(8, 1).double()
    whole = torch.autograd.grad(nn.functional.mse_loss(model(inputs), targets), tuple(model.parameters()))
    for (x, y), weight in micro_batches(Accumulation(steps=steps), (inputs, targets)):
        (weight * nn.functional.mse_loss(model(x), y)).backward()
    for parameter, expected in zip(model.parameters(), whole, strict=True):
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-10, atol=1e-12)


def test_the_parts_are_the_batch_in_order():
    inputs, targets = torch.arange(6), torch.arange(6) + 10
    parts = list(micro_batches(Accumulation(steps=3), (inputs, targets)))
    assert [(x.tolist(), y.tolist()) for (x, y), _ in parts] == [
        ([0, 1], [10, 11]),
        ([2, 3], [12, 13]),
        ([4, 5], [14, 15]),
    ]
    assert sum(weight for _, weight in parts) == pytest.approx(1)
