"""Maps of layers over steps as data: rows, groups, what is not finite."""

from dataclasses import replace

import numpy as np
import pytest

from app.dashboard.panels.generic import generic_panel
from app.dashboard.panels.grid import coloured, figure_of, grid_of, shortened
from app.dashboard.panels.registry import Options
from app.series import Series
from gyrostat.wire.values import ABSENT

OPTIONS = Options(first=0, last=100)


def series(values, names=None, **more) -> Series:
    array = np.asarray(values, dtype=np.float32)
    return Series(
        metric="gradient.norm",
        unit="1",
        axis="parameter",
        description="",
        names=tuple(names or (f"layer{i}" for i in range(array.shape[1]))),
        steps=np.arange(len(array), dtype=np.int64),
        values=array,
        **more,
    )


def test_rows_are_layers_in_depth_order_and_columns_are_steps():
    grid = grid_of(series([[1, 2], [3, 4], [5, 6]]))
    assert grid.names == ["layer0", "layer1"]
    assert grid.values.tolist() == [[1, 3, 5], [2, 4, 6]]
    assert grid.per_row == 1
    assert not grid.broken.any()


def test_not_finite_and_not_measured_are_told_apart():
    grid = grid_of(series([[np.nan, ABSENT], [np.inf, 2]]))
    assert grid.broken.tolist() == [[True, True], [False, False]]
    assert np.isnan(grid.values[1, 0])
    assert grid.values[1, 1] == 2


def test_ten_thousand_layers_become_at_most_two_hundred_rows_by_their_largest_value():
    values = np.random.default_rng(0).random((4, 10_000)).astype(np.float32)
    values[2, 777] = 50
    values[1, 9_999] = np.nan
    grid = grid_of(series(values))
    assert len(grid.names) == 200
    assert grid.per_row == 50
    assert grid.values[777 // 50, 2] == 50
    assert grid.broken[199, 1]
    assert np.allclose(grid.values[0], values[:, :50].max(axis=1))
    assert grid.names[0] == "layer0 … layer49"
    assert grid.labels[:2] == ["layer0", "layer50"]
    assert "each row shows the largest value of 50" in figure_of(grid, OPTIONS, log=True, quantity="Norm").note


@pytest.mark.parametrize(
    ("low", "high", "digits"), [(0, 1, 2), (9e-4, 1.12e-3, 3), (1.0, 1.001, 5), (3, 3, 2), (-3e38, 3e38, 2)]
)
def test_marks_of_a_colour_bar_have_digits_that_tell_them_apart(low, high, digits):
    _, bar = coloured(np.float32([[low, high]]), False, False)
    assert bar["tickformat"] == f".{digits}~g"
    marks = {f"{mark:.{digits}g}" for mark in np.linspace(low, high, 5)}
    assert len(marks) == (5 if high > low else 1)


def test_a_last_group_may_be_smaller():
    grid = grid_of(series(np.arange(14, dtype=np.float32).reshape(2, 7)), max_rows=3)
    assert grid.values.tolist() == [[2, 9], [5, 12], [6, 13]]
    assert grid.names[-1] == "layer6"


def test_buckets_show_their_largest_value_and_their_non_finite_ones():
    maximum = np.array([[9.0], [np.nan]], dtype=np.float32)
    counts = np.array([[0], [5]], dtype=np.uint32)
    grid = grid_of(series([[1.0], [np.nan]], minimum=maximum, mean=maximum, maximum=maximum, nonfinite=counts, level=2))
    assert grid.values[0, 0] == 9
    assert grid.broken.tolist() == [[False, True]]


def test_colours_are_logarithmic_and_zeros_take_the_smallest():
    figure = figure_of(grid_of(series([[0.0, 1e-6], [10.0, 1.0]])), OPTIONS, log=True, quantity="Norm")
    assert np.allclose(figure.data[0]["z"], [[-6, 1], [-6, 0]], atol=1e-5)
    assert figure.data[0]["customdata"].tolist() == [[0, 10], [pytest.approx(1e-6), 1]]


def test_all_zeros_and_a_single_cell_are_drawn():
    for value, log in ((0.0, True), (3.0, True), (0.0, False), (-2.5, False)):
        figure = figure_of(grid_of(series([[value, value]])), OPTIONS, log=log, quantity="Norm")
        assert np.isfinite(figure.data[0]["z"]).all()
        assert figure.data[0]["zmin"] < figure.data[0]["zmax"]
        bar = figure.data[0]["colorbar"]
        assert len(bar["tickvals"]) == len(bar["ticktext"]) == 1, "the bar names the one value and no other"
        assert float(bar["ticktext"][0]) == pytest.approx(value)


def test_cells_that_are_not_finite_have_a_trace_and_a_colour_of_their_own():
    figure = figure_of(grid_of(series([[np.nan, 1.0]])), OPTIONS, log=True, quantity="Norm")
    assert len(figure.data) == 2
    assert figure.data[1]["z"][0, 0] == 1
    assert np.isnan(figure.data[1]["z"][1, 0])
    assert "1 rows hold NaN or infinity" in figure.summary


def test_nothing_measured_is_an_empty_figure():
    assert figure_of(grid_of(series(np.zeros((0, 3)))), OPTIONS, log=True, quantity="Norm").data == []
    assert figure_of(grid_of(series([[ABSENT]])), OPTIONS, log=True, quantity="Norm").data == []
    assert figure_of(grid_of(series(np.zeros((2, 0)))), OPTIONS, log=True, quantity="Norm").data == []


def test_names_reach_the_labels_escaped_and_shortened_in_their_middle():
    hostile = "<a href='https://example.org'>layer</a>.weight"
    figure = figure_of(grid_of(series([[1.0]], names=[hostile])), OPTIONS, log=True, quantity="Norm")
    assert "<" not in figure.data[0]["y"][0]
    assert "<" not in figure.layout["yaxis"]["ticktext"][0]
    assert shortened("stages.0.blocks.11.conv1.weight") == "sta.0.blo.11.conv1.weight"
    assert shortened("blocks.12.attention.output.weight", 16) == "blo.12…ut.weight"
    assert len(shortened("x" * 256)) == 26
    assert shortened("short") == "short"


@pytest.mark.parametrize("gaps", [[[0, 0], [0, 0]], [[0, 0], [0, 0.5]], [[0, 0], [0, np.inf]]])
def test_ranks_are_drawn_under_their_names_in_step_and_out_of_it(gaps):
    found = series(gaps, names=["rank 0", "rank 1"])
    of_ranks = replace(found, axis="rank", metric="rank.parameter_digest_gap")
    drawn = generic_panel(of_ranks.metric, "rank", "").draw({of_ranks.metric: of_ranks}, OPTIONS)
    assert drawn.data[0]["y"] == ["rank 0", "rank 1"]
    assert "of 2 ranks over 2 steps" in drawn.summary
    assert len(drawn.data) == (2 if np.isinf(gaps[1][1]) else 1), "an infinite gap has a colour of its own"
