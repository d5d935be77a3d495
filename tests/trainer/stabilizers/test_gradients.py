import math

import pytest
import torch

from gyrostat.spec.gradients import ClipNorm
from trainer.stabilizers import gradients


def parameters(*values: list[float]) -> list[torch.Tensor]:
    made = []
    for value in values:
        parameter = torch.zeros(len(value), dtype=torch.float64, requires_grad=True)
        parameter.grad = torch.tensor(value, dtype=torch.float64)
        made.append(parameter)
    return made


def test_it_is_the_formula_over_all_parameters_together_and_keeps_the_direction():
    given = parameters([3.0, 0.0], [-4.0], [12.0])
    norm = gradients.clip(given, ClipNorm(max_norm=2.0))
    assert norm.shape == ()
    assert norm.item() == pytest.approx(13)
    assert torch.cat([p.grad for p in given]).tolist() == pytest.approx([3 * 2 / 13, 0, -4 * 2 / 13, 12 * 2 / 13])


@pytest.mark.parametrize("max_norm", [13.0, 13.0000001, 1e6])
def test_up_to_the_threshold_nothing_changes_bit_for_bit(max_norm):
    given = parameters([3.0, 0.0], [-4.0], [12.0])
    assert gradients.clip(given, ClipNorm(max_norm=max_norm)).item() == pytest.approx(13)
    assert torch.cat([p.grad for p in given]).tolist() == [3.0, 0.0, -4.0, 12.0]


def test_none_clips_nothing():
    given = parameters([30.0])
    assert gradients.clip(given, None) is None
    assert given[0].grad.item() == 30


def test_parameters_without_gradient_are_passed_over():
    given = [*parameters([6.0, 8.0]), torch.zeros(3, requires_grad=True)]
    assert gradients.clip(iter(given), ClipNorm(max_norm=5.0)).item() == pytest.approx(10)
    assert given[0].grad.tolist() == [3.0, 4.0]
    assert gradients.clip([torch.zeros(3, requires_grad=True)], ClipNorm()).item() == 0


def test_a_zero_gradient_stays_zero():
    given = parameters([0.0, 0.0])
    assert gradients.clip(given, ClipNorm(max_norm=1e-3)).item() == 0
    assert given[0].grad.tolist() == [0.0, 0.0]


def test_an_infinity_turns_to_nan_and_the_rest_to_zero():
    given = parameters([math.inf, 1.0])
    assert gradients.clip(given, ClipNorm()).item() == math.inf
    assert math.isnan(given[0].grad[0])
    assert given[0].grad[1] == 0


def test_a_nan_spreads_to_every_gradient():
    given = parameters([math.nan, 1.0], [2.0])
    assert math.isnan(gradients.clip(given, ClipNorm()).item())
    assert all(p.grad.isnan().all() for p in given)
