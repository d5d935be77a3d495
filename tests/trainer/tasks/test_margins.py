import pytest
import torch
from torch import nn

from trainer.tasks.margins import input_margins


def test_of_a_linear_model_it_is_the_distance_to_the_nearest_boundary_with_a_sign():
    model = nn.Linear(2, 3)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, 1.0]]))
        model.bias.copy_(torch.tensor([0.0, 5.0, -100.0]))
    inputs = torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, 0.0], [1.0, 0.5]])
    got = input_margins(model, inputs, torch.tensor([0, 1, 0, 0]))
    assert got.tolist() == pytest.approx([(25 - 5) / 5, 5 / 5, -5 / 5, 0])
    with torch.no_grad():
        model.weight *= 1000
        model.bias *= 1000
    assert input_margins(model, inputs, torch.tensor([0, 1, 0, 0])).tolist() == pytest.approx(got.tolist())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert inputs.grad is None


def test_moving_a_sample_so_far_along_its_slope_brings_it_to_the_boundary():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 4)).double()
    inputs, targets = torch.randn(50, 2, 4, dtype=torch.float64), torch.randint(4, (50,))
    got = input_margins(model, inputs, targets)
    for x, y, margin in zip(inputs, targets, got, strict=True):
        logits = model(x[None])[0]
        rival = max((k for k in range(4) if k != y), key=lambda k: logits[k])
        jacobian = torch.autograd.functional.jacobian(lambda at: model(at[None])[0], x)
        slope = (jacobian[y] - jacobian[rival]).norm()
        assert margin.item() == pytest.approx(((logits[y] - logits[rival]) / slope).item(), rel=1e-5)
    assert (got > 0).tolist() == (model(inputs).argmax(1) == targets).tolist()


def test_a_model_that_does_not_look_at_its_input_has_margins_that_are_large_and_finite_or_zero():
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.weight.zero_()
        model.bias.copy_(torch.tensor([1.0, 0.0]))
    assert input_margins(model, torch.ones(2, 3), torch.tensor([0, 1])).tolist() == pytest.approx([1e12, -1e12])
    with torch.no_grad():
        model.bias.zero_()
    assert input_margins(model, torch.ones(2, 3), torch.tensor([0, 1])).tolist() == [0, 0]
