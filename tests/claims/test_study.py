"""What a study makes of its numbers, and that every study can be run."""

import json
import math
from pathlib import Path

import pytest
from scipy import stats

from benchmarks.claims import studies
from benchmarks.claims.page import Outcome, catalogued, draw, page
from benchmarks.claims.study import STUDIES, Statement, Study, interval, judged, overall
from gyrostat.spec.catalogue import STABILIZERS
from gyrostat.spec.claims import FILE, claims
from gyrostat.spec.parse import parse

assert studies


def never(runs: object) -> float:
    raise AssertionError("no run is measured here")


def statement(**more: object) -> Statement:
    given = {"text": "a beats b", "on": "a", "off": "b", "measure": never, "quantity": "q", "at_least": 1.0} | more
    return Statement(**given)  # type: ignore[arg-type]


def test_the_interval_is_student_s() -> None:
    values = [1.0, 2.0, 4.0, 4.5]
    low, mean, high = interval(values)
    reference = stats.t.interval(0.95, 3, loc=mean, scale=stats.sem(values))
    assert (low, high) == pytest.approx(reference)
    assert interval([3.0]) == (-math.inf, 3.0, math.inf)


@pytest.mark.parametrize(
    ("on", "off", "bound", "decision"),
    [
        ([8.0, 8.1, 7.9], [1.0, 1.0, 1.0], 4.0, "holds"),
        ([2.0, 2.1, 1.9], [1.0, 1.0, 1.0], 4.0, "does not hold"),
        ([2.0, 8.0, 4.0], [1.0, 1.0, 1.0], 4.0, "not decided"),
        ([1.0, 1.0, 1.0], [0.5, math.inf, 0.5], 4.0, "not decided"),
        ([math.inf] * 3, [1.0] * 3, 4.0, "holds"),
    ],
)
def test_a_ratio_is_judged_by_its_whole_interval(on: list, off: list, bound: float, decision: str) -> None:
    assert judged(statement(at_least=bound), {"a": on, "b": off}).decision == decision


def test_ratios_are_averaged_as_logarithms_and_differences_plainly() -> None:
    numbers = {"a": [2.0, 8.0], "b": [1.0, 1.0]}
    assert judged(statement(), numbers).effect == pytest.approx(4.0)
    assert judged(statement(effect="difference"), numbers).effect == pytest.approx(4.0)
    assert judged(statement(effect="difference"), {"a": [2.0, 8.0], "b": [1.0, 3.0]}).effect == pytest.approx(3.0)


def test_an_upper_bound_is_kept_or_broken_by_the_whole_interval() -> None:
    upper = statement(off=None, effect="value", at_least=None, at_most=10.0)
    assert judged(upper, {"a": [5.0, 5.1, 5.2]}).decision == "holds"
    assert judged(upper, {"a": [50.0, 51.0, 52.0]}).decision == "does not hold"
    assert judged(upper, {"a": [9.0, 12.0, 8.0]}).decision == "not decided"


def test_a_number_that_was_not_measured_is_an_error() -> None:
    with pytest.raises(ValueError, match="is NaN"):
        judged(statement(), {"a": [math.nan], "b": [1.0]})


def test_a_claim_holds_only_where_each_statement_does() -> None:
    good = judged(statement(), {"a": [2.0] * 3, "b": [1.0] * 3})
    bad = judged(statement(), {"a": [0.5] * 3, "b": [1.0] * 3})
    open_ = judged(statement(), {"a": [0.5, 2.0, 1.0], "b": [1.0] * 3})
    assert [overall(each) for each in ([good], [good, open_], [good, open_, bad])] == [
        "holds",
        "not decided",
        "does not hold",
    ]


def test_a_statement_without_a_bound_or_with_two_is_refused() -> None:
    with pytest.raises(TypeError, match="at_least and at_most"):
        statement(at_most=2.0)
    with pytest.raises(TypeError, match="a value has no `off`"):
        statement(effect="value")


def test_the_page_the_figure_and_the_catalogue_tell_of_every_outcome(tmp_path: Path) -> None:
    verdict = judged(statement(), {"a": [2.0, 2.1, 2.2], "b": [1.0, 1.0, math.inf]})
    one = Study(
        id="one",
        section="1",
        shows=("norm.batch",),
        claim="A beats b",
        setting="Nothing.",
        statements=(verdict.statement,),
        arms={"a": {}, "b": {}},
    )
    outcome = Outcome(study=one, decision=verdict.decision, verdicts=[verdict])
    text = page([outcome], runs=6, minutes=1.0)
    assert "A beats b" in text
    assert "diverged" in text
    draw(outcome, tmp_path / "one.svg")
    assert "<svg" in (tmp_path / "one.svg").read_text()
    assert json.loads(json.dumps(catalogued([outcome])))["norm.batch"][0]["study"] == "one"


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_is_a_set_of_valid_specs(name: str) -> None:
    one = STUDIES[name]()
    assert one.id == name
    assert one.seeds >= 3
    for arm in one.arms:
        for document in one.documents(arm, seed=1):
            assert parse(json.loads(json.dumps(document))).spec.seed == 1


def test_the_catalogue_s_verdicts_are_of_studies_and_techniques_that_exist() -> None:
    assert FILE.exists()
    assert set(claims()) <= set(STABILIZERS)
    assert {shown.study for each in claims().values() for shown in each} <= set(STUDIES)
