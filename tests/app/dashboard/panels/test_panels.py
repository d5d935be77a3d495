"""Every panel of the registry draws everything that a run may bring: nothing, one point, NaN, ten thousand layers."""

import json

import numpy as np
import pytest

from app.dashboard import panels as _all  # noqa: F401
from app.dashboard.figures import to_json
from app.dashboard.panels.generic import generic_panel, is_drawn
from app.dashboard.panels.registry import PANELS, Mark, Options, panel
from app.series import Series
from gyrostat.spec.metrics import METRICS
from gyrostat.wire.values import ABSENT

EVERY = list(PANELS.values())
OPTIONS = Options(first=0, last=50, marks=(Mark(3, "warning", "something"),))


def series(metric: str, values, width: int) -> Series:
    known = METRICS[metric]
    array = np.broadcast_to(np.asarray(values, dtype=np.float32)[:, None], (len(values), width)).copy()
    return Series(
        metric=metric,
        unit=known.unit,
        axis=known.axis,
        description="",
        names=tuple(f"layer{i}" for i in range(width)),
        steps=np.arange(len(values), dtype=np.int64),
        values=array,
    )


CASES = {
    "nothing": ([], 2),
    "one point": ([0.5], 1),
    "zeros": ([0.0, 0.0], 3),
    "negative": ([-1.0, -2.0], 2),
    "nan": ([np.nan, np.inf, -np.inf], 2),
    "absent": ([ABSENT, ABSENT], 2),
    "mixed": ([1.0, np.nan, ABSENT, 1e-30, 3e38], 2),
    "many layers": ([1.0, 2.0], 10_000),
}


@pytest.mark.parametrize("each", EVERY, ids=lambda each: each.slug)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_panel_draws_everything(each, case, theme):
    values, width = CASES[case]
    given = {metric: series(metric, values, width if each.layered else 1) for metric in each.metrics}
    for log in (True, False):
        figure = each.draw(given, OPTIONS._replace(theme=theme, log=log, smooth=0.5))
        body = json.loads(to_json(figure), parse_constant=lambda token: pytest.fail(f"{token} in JSON"))
        assert body["summary"]
        assert len(to_json(figure)) < 200_000


@pytest.mark.parametrize("each", EVERY, ids=lambda each: each.slug)
def test_every_panel_reads_metrics_of_the_catalogue_and_says_how_to_read_it(each):
    assert set(each.metrics) <= set(METRICS)
    assert each.hint.endswith(".")
    assert each.draw({}, OPTIONS).data == []


def test_sharpness_of_an_adaptive_optimizer_is_the_preconditioned_one():
    names = ("curvature.sharpness", "curvature.preconditioned_sharpness", "curvature.limit")
    figure = PANELS["sharpness"].draw({name: series(name, [1.0, 2.0], 1) for name in names}, OPTIONS)
    assert [entry.label for entry in figure.key] == ["preconditioned sharpness", "limit"]
    assert figure.key[1].dashed


def test_a_slug_cannot_be_taken_twice():
    with pytest.raises(TypeError, match="two panels"):
        panel("loss", "Loss", ("loss.train",), hint="")(lambda series, options: pytest.fail("never drawn"))


def test_metrics_of_a_users_own_have_a_panel_too():
    assert is_drawn("loss.train")
    assert not is_drawn("my.metric")
    known = series("loss.train", [1.0, 2.0], 1)
    curve = generic_panel("my.metric", "run", "Mine.")
    assert curve.draw({"my.metric": known}, OPTIONS).data[-2]["name"] == "my.metric"
    layered = generic_panel("my.metric", "module", "")
    assert layered.draw({"my.metric": series("gradient.norm", [1.0], 3)}, OPTIONS).data[0]["type"] == "heatmap"
    assert layered.draw({}, OPTIONS).data == []
