import math

import pytest
import torch

from gyrostat.spec.gradients import ClipAdaptive, ClipNorm, ClipValue
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
    factor, fraction = gradients.clip(given, ClipNorm(max_norm=2.0))
    assert factor.shape == fraction.shape == ()
    assert fraction.item() == 1
    assert factor.item() == pytest.approx(2 / 13)
    assert torch.cat([p.grad for p in given]).tolist() == pytest.approx([3 * 2 / 13, 0, -4 * 2 / 13, 12 * 2 / 13])


@pytest.mark.parametrize("max_norm", [13.0, 13.0000001, 1e6])
def test_up_to_the_threshold_nothing_changes_bit_for_bit(max_norm):
    given = parameters([3.0, 0.0], [-4.0], [12.0])
    assert gradients.clip(given, ClipNorm(max_norm=max_norm)) == (1, 0)
    assert torch.cat([p.grad for p in given]).tolist() == [3.0, 0.0, -4.0, 12.0]


def test_none_clips_nothing():
    given = parameters([30.0])
    assert gradients.clip(given, None) is None
    assert given[0].grad.item() == 30


def test_parameters_without_gradient_are_passed_over():
    given = [*parameters([6.0, 8.0]), torch.zeros(3, requires_grad=True)]
    assert gradients.clip(iter(given), ClipNorm(max_norm=5.0)).factor.item() == pytest.approx(0.5)
    assert given[0].grad.tolist() == [3.0, 4.0]
    for settings in (ClipNorm(), ClipValue(), ClipAdaptive()):
        assert gradients.clip([torch.zeros(3, requires_grad=True)], settings) == (1, 0)


def test_a_zero_gradient_stays_zero():
    for settings in (ClipNorm(max_norm=1e-3), ClipValue(max_value=1e-3), ClipAdaptive(ratio=1e-3)):
        given = parameters([0.0, 0.0])
        assert gradients.clip(given, settings) == (1, 0)
        assert given[0].grad.tolist() == [0.0, 0.0]


def test_an_infinity_turns_to_nan_and_the_rest_to_zero():
    given = parameters([math.inf, 1.0])
    assert gradients.clip(given, ClipNorm()).factor.item() == 0
    assert math.isnan(given[0].grad[0])
    assert given[0].grad[1] == 0


def test_a_nan_spreads_to_every_gradient():
    given = parameters([math.nan, 1.0], [2.0])
    assert math.isnan(gradients.clip(given, ClipNorm()).factor.item())
    assert all(p.grad.isnan().all() for p in given)


def test_clipping_by_value_bounds_each_element_alone():
    given = parameters([3.0, -0.25], [-4.0], [0.5])
    factor, fraction = gradients.clip(given, ClipValue(max_value=0.5))
    assert [p.grad.tolist() for p in given] == [[0.5, -0.25], [-0.5], [0.5]]
    before, after = math.hypot(3, 0.25, 4, 0.5), math.hypot(0.5, 0.25, 0.5, 0.5)
    assert factor.item() == pytest.approx(after / before)
    assert fraction.item() == 2 / 4, "0.5 itself passes"
    assert gradients.clip(given, ClipValue(max_value=0.5)) == (1, 0), "nothing is left to clip"


def test_clipping_by_value_keeps_a_nan():
    given = parameters([math.nan, 3.0])
    factor, fraction = gradients.clip(given, ClipValue(max_value=0.5))
    assert math.isnan(factor.item())
    assert fraction.item() == 0.5
    assert math.isnan(given[0].grad[0])
    assert given[0].grad[1] == 0.5


def weighted(weights, gradient):
    parameter = torch.tensor(weights, dtype=torch.float64, requires_grad=True)
    parameter.grad = torch.tensor(gradient, dtype=torch.float64)
    return parameter


def test_adaptive_clipping_bounds_each_units_gradient_by_its_weights():
    matrix = weighted([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]], [[0.3, 0.4], [0.3, 0.4], [0.3, 0.4]])
    bias = weighted([3.0, 4.0], [30.0, 40.0])
    factor, fraction = gradients.clip([matrix, bias], ClipAdaptive(ratio=0.2, eps=0.01))
    # ‖w‖ of the rows: 5, 0.5, 0 (counts as ε), of the vector 5; ‖g‖: 0.5 each, 50
    scales = [1, 0.2 * 0.5 / 0.5, 0.2 * 0.01 / 0.5]
    expected = [[0.3 * scale, 0.4 * scale] for scale in scales]
    for row, by_hand in zip(matrix.grad.tolist(), expected, strict=True):
        assert row == pytest.approx(by_hand)
    assert matrix.grad[0].tolist() == [0.3, 0.4], "below the bound nothing changes, bit for bit"
    assert bias.grad.tolist() == pytest.approx([0.6, 0.8])
    assert fraction.item() == 6 / 8, "two rows of the matrix, and the vector"
    before, after = math.hypot(0.5, 0.5, 0.5, 50), math.hypot(0.5, 0.1, 0.002, 1)
    assert factor.item() == pytest.approx(after / before)


def test_adaptive_clipping_takes_a_kernel_for_a_unit_and_agrees_with_the_matrix_that_it_is():
    torch.manual_seed(0)
    kernel = torch.randn(4, 3, 2, 2, requires_grad=True)
    kernel.grad = torch.randn(4, 3, 2, 2)
    matrix = kernel.detach().flatten(1).clone().requires_grad_()
    matrix.grad = kernel.grad.flatten(1).clone()
    for parameter in (kernel, matrix):
        gradients.clip([parameter], ClipAdaptive(ratio=0.1))
    torch.testing.assert_close(kernel.grad.flatten(1), matrix.grad)
    ratios = kernel.grad.flatten(1).norm(dim=1) / kernel.detach().flatten(1).norm(dim=1)
    assert ratios.tolist() == pytest.approx([0.1] * 4)


def test_adaptive_clipping_hides_no_nan():
    given = weighted([[1.0, 1.0], [1.0, 1.0]], [[math.nan, 1.0], [1e-3, 1e-3]])
    assert math.isnan(gradients.clip([given], ClipAdaptive()).factor.item())
    assert given.grad[0].isnan().all()
    assert given.grad[1].tolist() == [1e-3, 1e-3]
