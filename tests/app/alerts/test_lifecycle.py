import math

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from app.alerts.lifecycle import NEW_NAMES_AFTER, RANKS, REFRESH_AFTER, Life, advance
from app.alerts.model import Verdict
from gyrostat.spec.run import Severity

SEVERITIES = st.sampled_from(["info", "warning", "critical"])
NAMES = st.lists(st.sampled_from("abcd"), max_size=3, unique=True).map(tuple)


def _run(verdicts: list[bool], hold: int, quiet: int) -> list[str]:
    life, told = Life(), []
    for step, breached in enumerate(verdicts):
        life, change = advance(life, Verdict(breached=breached), step, severity="warning", hold=hold, quiet=quiet)
        told += [f"{change}@{step}"] if change else []
    return told


def test_it_opens_after_hold_breached_evaluations_in_a_row() -> None:
    assert _run([True, True, False, True, True, True, True], 3, 5) == ["opened@5"]


def test_it_stays_open_until_it_has_been_quiet_for_long_enough() -> None:
    assert _run([True, False, False, True, False, False, False, False], 1, 3) == ["opened@0", "resolved@6"]


def test_the_onset_is_the_first_breached_evaluation_and_not_the_opening() -> None:
    life = Life()
    for step in (10, 20, 30):
        life, change = advance(life, Verdict(breached=True), step, severity="info", hold=3, quiet=5)
    assert (change, life.onset_step) == ("opened", 10)


def test_a_verdict_may_know_an_earlier_onset() -> None:
    life, _ = advance(Life(), Verdict(breached=True, onset_step=3), 9, severity="info", hold=1, quiet=5)
    assert life.onset_step == 3


def test_an_open_alert_is_told_again_only_when_it_matters() -> None:
    life, told = Life(), []
    for step in range(2 * REFRESH_AFTER + 10):
        names = ("a", "b") if step >= 5 else ("a",)
        severity: Severity = "critical" if step == 3 else "warning"
        life, change = advance(life, Verdict(breached=True, names=names), step, severity=severity, hold=1, quiet=5)
        told += [(change, step, life.names, life.severity)] if change else []
    assert told[:3] == [
        ("opened", 0, ("a",), "warning"),
        ("updated", 3, ("a",), "critical"),
        ("updated", 3 + NEW_NAMES_AFTER, ("a", "b"), "critical"),
    ]
    assert len(told) == 4


@given(st.lists(st.booleans(), max_size=200), st.integers(1, 6), st.integers(1, 6))
def test_openings_and_resolutions_alternate(verdicts: list[bool], hold: int, quiet: int) -> None:
    kinds = [told.partition("@")[0] for told in _run(verdicts, hold, quiet)]
    ends = [kind for kind in kinds if kind != "updated"]
    assert ends == (["opened", "resolved"] * math.ceil(len(ends) / 2))[: len(ends)]


class LifeOfAnAlert(RuleBasedStateMachine):
    """Against a model that remembers every verdict."""

    @initialize(hold=st.integers(1, 5), quiet=st.integers(1, 5))
    def begin(self, hold: int, quiet: int) -> None:
        self.hold, self.quiet = hold, quiet
        self.life, self.history, self.step = Life(), [], 0
        self.expected = "inactive"
        self.highest: Severity = "info"

    @rule(breached=st.booleans(), severity=SEVERITIES, names=NAMES, times=st.integers(1, 4))
    def judge(self, breached: bool, severity: Severity, names: tuple[str, ...], times: int) -> None:
        for _ in range(times):
            self.step += 1
            self.history.append(breached)
            before = self.expected
            verdict = Verdict(breached=breached, names=names)
            self.life, change = advance(
                self.life, verdict, self.step, severity=severity, hold=self.hold, quiet=self.quiet
            )
            if before != "open":
                opens = self.history[-self.hold :] == [True] * self.hold
                self.expected = "open" if opens else "pending" if breached else "inactive"
                assert change == ("opened" if opens else None)
            else:
                resolves = self.history[-self.quiet :] == [False] * self.quiet
                self.expected = "inactive" if resolves else "open"
                assert change in (("resolved",) if resolves else (None, "updated") if breached else (None,))
            if self.expected == "inactive":
                self.history.clear()

    @invariant()
    def it_is_where_the_model_is(self) -> None:
        if hasattr(self, "life"):
            assert self.life.phase == self.expected
            assert (self.life.onset_step is None) == (self.expected == "inactive")
            assert self.life.severity in RANKS


LifeOfAnAlert.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestLifeOfAnAlert = LifeOfAnAlert.TestCase
