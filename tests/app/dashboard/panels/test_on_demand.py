"""Figures of measurements on demand: what they say, on every scale, with holes, and with nothing finite."""

import json

import numpy as np
import pytest

from app.dashboard.figures import to_json
from app.dashboard.panels.on_demand import FORMS, figure_of, form_of

LINE = {"kind": "landscape", "dimensions": 1}
PLANE = {"kind": "landscape", "dimensions": 2}
SPECTRUM = {"kind": "spectral_density"}
KERNEL = {"kind": "ntk"}
LIKENESS = {"kind": "cka"}
AT = [-1.0, -0.5, 0.0, 0.5, 1.0]


def losses(settings, values):
    rows = values if settings is LINE else [[row + column for column in values] for row in values]
    return {"positions": AT, "losses": rows}


def spectrum(**changes):
    grid = np.linspace(-2, 12, 60)
    density = np.exp(-(grid**2)) / np.sqrt(np.pi)
    return {
        "grid": grid.tolist(),
        "density": density.tolist(),
        "error": (0.1 * density).tolist(),
        "eigenvalues": [-1.5, 0.0, 11.25],
        "weights": [0.3, 0.6, 0.1],
        "sigma": 0.1,
        "trace": 123.4567,
        "trace_error": 4.5,
        "square": 400.0,
        "square_error": 9.0,
        "steps": 3,
        "parameters": 1234,
        **changes,
    }


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("log", [True, False, None])
@pytest.mark.parametrize(
    ("settings", "values"),
    [
        (LINE, losses(LINE, [4.0, 1.0, 0.25, 1.5, 9.0])),
        (PLANE, losses(PLANE, [4.0, 1.0, 0.25, 1.5, 9.0])),
        (LINE, losses(LINE, [-4.0, 1.0, 0.0, 1.5, 9.0])),
        (PLANE, losses(PLANE, [-4.0, 1.0, 0.0, 1.5, 9.0])),
        (LINE, losses(LINE, [1.0] * 5)),
        (SPECTRUM, spectrum()),
        (KERNEL, {"kernel_eigenvalues": [0.0, 1.0, 7.0]}),
        (KERNEL, {"kernel_eigenvalues": [0.0]}),
        (LIKENESS, {"names": ["only"], "alignment": [[1.0]]}),
        (LIKENESS, {"names": ["a", "b"], "alignment": [[1.0, "NaN"], ["NaN", "NaN"]]}),
        (SPECTRUM, spectrum(density=[0.0] * 59 + [1.0], error=[0.0] * 60)),
    ],
)
def test_every_form_draws_on_every_scale(settings, values, log, theme):
    body = to_json(figure_of(settings, values, theme=theme, log=log))
    found = json.loads(body, parse_constant=lambda token: pytest.fail(f"{token} in JSON"))
    assert found["data"]
    assert found["summary"]


def test_a_loss_is_told_in_the_middle_and_where_it_is_no_number():
    figure = figure_of(LINE, losses(LINE, ["NaN", 1.0, 0.25, 1.5, "Infinity"]), theme="light", log=None)
    assert figure.summary == "0.25 at the weights; from 0.25 to 1.5 within ±1. NaN or infinity at 2 points."
    assert figure.data[1]["x"].tolist() == [-1, 1]
    assert figure.key[0].label == "NaN or infinity"
    np.testing.assert_array_equal(figure.data[0]["y"], np.float32([np.nan, 1, 0.25, 1.5, np.nan]))


def test_a_plane_has_the_first_direction_across_and_marks_its_holes():
    rows = [[float(10 * row + column) for column in range(5)] for row in range(5)]
    rows[4][1] = "NaN"
    figure = figure_of(PLANE, {"positions": AT, "losses": rows}, theme="dark", log=False)
    assert figure.data[0]["z"][1].tolist() == [10, 11, 12, 13, 14]
    broken = figure.data[-1]
    assert (broken["x"].tolist(), broken["y"].tolist()) == ([-0.5], [1.0])
    assert figure.summary.startswith("22 at the weights")


@pytest.mark.parametrize("settings", [LINE, PLANE])
def test_nothing_finite_is_said_and_not_drawn(settings):
    nothing = ["NaN"] * 5 if settings is LINE else [["Infinity"] * 5] * 5
    figure = figure_of(settings, {"positions": AT, "losses": nothing}, theme="light", log=None)
    assert figure.data == []
    assert "No loss is finite" in figure.summary


def test_a_spectrum_is_drawn_down_to_a_tenth_of_a_single_eigenvalue():
    figure = figure_of(SPECTRUM, spectrum(), theme="light", log=None)
    single = 1 / (1234 * 0.1 * np.sqrt(2 * np.pi))
    axis = figure.layout["yaxis"]
    assert axis["type"] == "log"
    assert 10 ** axis["range"][0] == pytest.approx(0.1 * single)
    low, high = figure.data[0]["y"], figure.data[1]["y"]
    assert (low <= high).all()
    assert low.min() == pytest.approx(0.1 * single)
    assert figure.summary == "1,234 eigenvalues from -1.5 to 11.2; trace 123.5 ± 4.5."
    linear = figure_of(SPECTRUM, spectrum(), theme="light", log=False)
    assert linear.layout["yaxis"]["range"][0] == 0


def test_a_kernel_is_told_from_its_largest_eigenvalue():
    figure = figure_of(KERNEL, {"kernel_eigenvalues": [0.0, 1.0, 7.0]}, theme="light", log=None)
    assert figure.summary == "3 eigenvalues from 0 to 7; the largest is 88% of their sum."
    np.testing.assert_array_equal(figure.data[0]["y"], np.float32([7, 1, np.nan]))


def test_likenesses_are_told_by_neighbours_and_names_are_escaped():
    rows = [[1.0, 0.9, 0.1], [0.9, 1.0, 0.5], [0.1, 0.5, 1.0]]
    figure = figure_of(LIKENESS, {"names": ["a", "<b>", "c"], "alignment": rows}, theme="light", log=None)
    assert figure.summary == "3 layers. Neighbours are alike by 0.70 on average; least alike are a and c, by 0.10."
    assert figure.data[0]["y"] == ["a", "&lt;b&gt;", "c"]
    np.testing.assert_array_equal(figure.data[0]["z"], np.float32(rows))


def test_every_form_has_a_name_and_a_hint():
    assert [form_of(settings) for settings in (LINE, PLANE, SPECTRUM, KERNEL, LIKENESS)] == list(FORMS)
    assert all(form.hint.endswith(".") for form in FORMS.values())
