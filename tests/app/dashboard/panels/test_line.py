"""Curves as data: what is drawn, what is marked, what is left out."""

import numpy as np
import pytest

from app.dashboard.panels.line import curves, figure_of, line_of, smoothed
from app.dashboard.panels.registry import Mark, Options
from app.series import Series
from gyrostat.wire.values import ABSENT


def series(values, **more) -> Series:
    column = np.asarray(values, dtype=np.float32)[:, None]
    return Series(
        metric="loss.train",
        unit="1",
        axis="run",
        description="",
        names=("",),
        steps=np.arange(len(values), dtype=np.int64) * 10,
        values=column,
        **more,
    )


def bucketed(minimum, mean, maximum, nonfinite, last) -> Series:
    def column(rows):
        return np.asarray(rows, dtype=np.float32)[:, None]

    counts = np.asarray(nonfinite, dtype=np.uint32)[:, None]
    return series(last, minimum=column(minimum), mean=column(mean), maximum=column(maximum), nonfinite=counts, level=1)


OPTIONS = Options(first=0, last=100)


def test_raw_values_have_no_band_and_non_finite_ones_are_named():
    line = line_of(series([1.0, np.nan, np.inf, -np.inf, 0.5]), "train")
    assert line.low is None
    assert line.broken_steps == [10, 20, 30]
    assert line.broken_texts == ["train: NaN", "train: infinity", "train: minus infinity"]
    assert line.newest == (40, 0.5)
    assert np.isnan(line.values[1:4]).all()


def test_absent_values_are_gaps_and_no_markers():
    line = line_of(series([1.0, ABSENT, 0.5]), "train")
    assert line.broken_steps == []
    assert np.isnan(line.values[1])


def test_buckets_show_their_mean_their_band_and_how_many_values_were_not_finite():
    line = line_of(bucketed([0.1, 0.2], [0.5, 0.6], [0.9, 7.0], [0, 3], [0.4, np.nan]), "train")
    assert line.values.tolist() == pytest.approx([0.5, 0.6])
    assert line.high.tolist() == pytest.approx([0.9, 7.0])
    assert line.broken_steps == [10]
    assert line.broken_texts == ["train: NaN, 3 values around this step"]


def test_a_bucket_whose_last_value_is_finite_still_tells_of_the_nan_inside():
    line = line_of(bucketed([0.1], [0.5], [0.9], [1], [0.4]), "train")
    assert line.broken_texts == ["train: NaN or infinity"]


def test_smoothing_matches_the_bias_corrected_average_and_skips_gaps():
    values = np.array([1.0, 2.0, np.nan, 4.0])
    weight, result = 0.6, smoothed(np.array([1.0, 2.0, np.nan, 4.0]), 0.6)
    weights = [weight**2, weight, 1]
    expected = np.average([1.0, 2.0, 4.0], weights=weights)
    assert np.isnan(result[2])
    assert result[0] == pytest.approx(values[0])
    assert result[3] == pytest.approx(expected)


def test_a_smoothed_curve_keeps_the_raw_one_faint_behind_it():
    figure = curves(
        {"loss.train": series(np.linspace(1, 0.4, 40))}, OPTIONS._replace(smooth=0.5), {"loss.train": "train"}, log=True
    )
    lines = [trace for trace in figure.data if "lines" in trace["mode"]]
    assert len(lines) == 2
    assert "rgba" in lines[0]["line"]["color"]


def test_a_curve_of_few_points_is_not_smoothed():
    assert line_of(series([1.0, 0.5, 0.4]), "validation", weight=0.9).smooth is None


def test_non_finite_values_are_markers_at_the_top_and_never_reach_the_value_axis():
    figure = figure_of([(line_of(series([1.0, np.inf]), "train"), "#112233", "solid")], OPTIONS, log=True)
    markers = next(trace for trace in figure.data if trace.get("name") == "NaN")
    assert markers["x"] == [10]
    assert markers["yaxis"] == "y2"
    curve = next(trace for trace in figure.data if trace.get("name") == "train")
    assert not np.isinf(curve["y"]).any()
    assert "NaN or infinity at 1 points" in figure.summary


def test_alerts_are_lines_on_the_time_axis_with_their_text_escaped():
    options = OPTIONS._replace(marks=(Mark(10, "critical", "<b>bad</b> in layer"), Mark(500, "info", "outside")))
    figure = figure_of([(line_of(series([1.0, 0.5]), "train"), "#112233", "solid")], options, log=False)
    assert [shape["x0"] for shape in figure.layout["shapes"]] == [10]
    alerts = next(trace for trace in figure.data if trace.get("name") == "alerts")
    assert alerts["text"] == ["&lt;b&gt;bad&lt;/b&gt; in layer"]


def test_nothing_to_draw_is_an_empty_figure():
    assert curves({}, OPTIONS, {"loss.train": "train"}, log=True).data == []
    assert curves({"loss.train": series([])}, OPTIONS, {"loss.train": "train"}, log=True).data == []


def test_only_nan_is_drawn_as_markers_alone():
    figure = curves({"loss.train": series([np.nan, np.nan])}, OPTIONS, {"loss.train": "train"}, log=True)
    assert figure.summary == "train: no finite value."
    assert [trace["x"] for trace in figure.data if trace.get("name") == "NaN"] == [[0, 10]]


@pytest.mark.parametrize(("value", "range_"), [(0.05, [0.0, 0.1]), (-2.0, [-4.0, 0.0]), (0.0, None)])
def test_a_curve_of_one_value_is_drawn_between_zero_and_twice_it(value, range_):
    line = line_of(series([value] * 3), "rate")
    axis = figure_of([(line, "#000000", "solid")], OPTIONS, log=False).layout["yaxis"]
    assert axis.get("range") == (None if range_ is None else pytest.approx(range_))
    other = figure_of([(line_of(series([1, 2]), "rate"), "#000000", "solid")], OPTIONS, log=False).layout["yaxis"]
    assert "range" not in other
