"""The small curves of the runs page."""

import math

from app.dashboard.sparkline import sparkline


def test_a_falling_loss_falls_on_the_picture():
    drawn = sparkline([1.0, 0.1, 0.01], width=100, height=24)
    (piece,) = drawn.pieces
    heights = [float(point.split(",")[1]) for point in piece.split()]
    assert heights == [2.0, 12.0, 22.0]
    assert drawn.end == (96.0, 22.0)


def test_values_that_are_not_finite_split_the_curve_and_are_marked():
    drawn = sparkline([1.0, 0.5, math.nan, 0.4, 0.3])
    assert len(drawn.pieces) == 2
    assert len(drawn.broken) == 1


def test_negative_values_are_drawn_on_a_linear_scale():
    assert sparkline([-1.0, 1.0]).pieces


def test_nothing_one_value_and_a_flat_line_are_drawn():
    assert sparkline([]).pieces == []
    assert sparkline([0.5]).end is not None
    assert sparkline([0.5, 0.5]).pieces
    assert sparkline([math.nan]).end is None
