import time

import pytest
from pydantic import ValidationError

from gyrostat.wire.layout import MAX_NAMES, Layout, MetricDeclaration


def layout(**changes: object) -> Layout:
    plain: dict[str, object] = {
        "version": 1,
        "axes": {"parameter": ["fc.weight", "fc.bias"], "module": ["fc"]},
        "metrics": [
            {"name": "loss.train", "unit": "1", "axis": "run"},
            {"name": "gradient.norm", "unit": "1", "axis": "parameter"},
            {"name": "activation.rms", "unit": "1", "axis": "module"},
        ],
    }
    return Layout.model_validate(plain | changes)


def test_a_metric_is_as_wide_as_its_axis() -> None:
    assert layout().width("loss.train") == 1
    assert layout().width("gradient.norm") == 2
    assert layout().width("activation.rms") == 1
    assert layout().width("nowhere.declared") is None


def test_a_layout_survives_json() -> None:
    assert Layout.model_validate_json(layout().model_dump_json()) == layout()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"version": 0}, "greater than or equal to 1"),
        ({"version": 1.0}, "integer"),
        ({"axes": {"run": ["x"], "parameter": ["a"], "module": ["b"]}}, "scalars"),
        ({"axes": {"parameter": ["a"]}}, "'module'"),
        ({"axes": {"layer": ["a"]}}, "module"),
        ({"axes": {"parameter": ["a", "a"], "module": ["b"]}}, "'a' twice"),
        ({"axes": {"parameter": [""], "module": ["b"]}}, "1-256 bytes"),
        ({"axes": {"parameter": ["é" * 129], "module": ["b"]}}, "1-256 bytes"),
        ({"axes": {"parameter": ["a\0"], "module": ["b"]}}, "controls"),
        ({"axes": {"parameter": ["a\x7f"], "module": ["b"]}}, "controls"),
        ({"axes": {"parameter": ["\ud800"], "module": ["b"]}}, "Unicode"),
        ({"axes": {"parameter": [str(i) for i in range(MAX_NAMES + 1)], "module": ["b"]}}, "at most 20000"),
        ({"metrics": [{"name": "loss.train", "unit": "1", "axis": "run"}] * 2}, "declared twice"),
        ({"metrics": [{"name": "loss", "unit": "1", "axis": "run"}]}, "pattern"),
        ({"metrics": [{"name": "Loss.train", "unit": "1", "axis": "run"}]}, "pattern"),
        ({"metrics": [{"name": "loss.train\n", "unit": "1", "axis": "run"}]}, "pattern"),
        ({"metrics": [{"name": "loss.train", "unit": "a\0", "axis": "run"}]}, "control characters"),
        ({"metrics": [{"name": "loss.train", "unit": "1", "axis": "run", "description": "a\0"}]}, "control characters"),
        ({"metrics": [{"name": f"a.b{i}", "unit": "1", "axis": "run"} for i in range(501)]}, "at most 500"),
        ({"extra": 1}, "Extra"),
    ],
)
def test_a_layout_that_means_nothing_is_refused(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        layout(**changes)


def test_a_repeated_name_among_twenty_thousand_is_found_at_once() -> None:
    names = [str(i) for i in range(MAX_NAMES - 1)]
    started = time.perf_counter()
    with pytest.raises(ValidationError, match="twice"):
        layout(axes={"parameter": [*names, names[-1]], "module": ["b"]})
    assert time.perf_counter() - started < 1


def test_a_description_may_have_lines() -> None:
    assert MetricDeclaration(name="a.b", unit="1", axis="run", description="one\n\ttwo").description == "one\n\ttwo"
