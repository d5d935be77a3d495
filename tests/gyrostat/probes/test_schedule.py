import random
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gyrostat.probes.accounts import fair_shares
from gyrostat.probes.schedule import EXPECTED_STEPS, TIGHT, WARM_UP, Due, Plan, Schedule

PLANS = {
    "cheap": Plan(every=5, recorded=True),
    "middle": Plan(every=10, cost="moderate"),
    "dear": Plan(every=50, cost="dear", late=True),
}


def simulated(
    schedule: Schedule,
    steps: range,
    costs: Mapping[str, float],
    *,
    step_seconds: Callable[[int], float] = lambda step: 1.0,
    fixed: float = 0.0,
    cold: float = 1.0,
) -> tuple[dict[int, Due], list[float], list[float]]:
    """What was due at each step, seconds spent inside of the session up to each, and wall time up to each."""
    due, spent, elapsed = {}, [0.0], [0.0]
    for step in steps:
        due[step] = schedule.due(step)
        factor = cold if step == steps.start else 1.0
        paid = {name: factor * costs[name] for name in (*due[step].sent, *due[step].recorded)}
        schedule.observe(step_seconds(step), fixed, paid)
        spent.append(spent[-1] + fixed + sum(paid.values()))
        elapsed.append(elapsed[-1] + step_seconds(step) + fixed + sum(paid.values()))
    return due, spent, elapsed


def sent(due: Mapping[int, Due], name: str) -> list[int]:
    return [step for step, found in due.items() if name in found.sent]


def test_needs_are_met_where_they_can_be_and_the_rest_is_shared_evenly() -> None:
    assert fair_shares({"a": 1.0, "b": 2.0}, 5.0) == {"a": 1.0, "b": 2.0}
    assert fair_shares({"a": 1.0, "b": 9.0, "c": 7.0}, 5.0) == {"a": 1.0, "c": 2.0, "b": 2.0}
    assert fair_shares({"a": 1.0}, -3.0) == {"a": 0.0}
    assert fair_shares({}, 1.0) == {}


def test_without_a_budget_a_probe_is_due_at_step_one_and_at_multiples_whatever_it_costs() -> None:
    plans = {"dear": Plan(every=50, cost="dear"), "late": Plan(every=40, late=True), "cheap": Plan(every=5)}
    due, _, _ = simulated(Schedule(plans, None), range(1, 161), {"dear": 10.0, "late": 1.0, "cheap": 0.1})
    assert sent(due, "dear") == [1, 50, 100, 150]
    assert sent(due, "late") == [40, 80, 120, 160]
    assert not any(found.recorded for found in due.values())
    due, _, _ = simulated(Schedule(plans, None), range(77, 160), {"dear": 10.0, "late": 1.0, "cheap": 0.1})
    assert sent(due, "dear") == [100, 150]


def test_without_a_budget_the_recorder_has_its_probes_at_every_step() -> None:
    due, _, _ = simulated(Schedule(PLANS, None), range(1, 13), dict.fromkeys(PLANS, 0.1))
    assert sent(due, "cheap") == [1, 5, 10]
    assert [step for step, found in due.items() if found.recorded == ("cheap",)] == [2, 3, 4, 6, 7, 8, 9, 11, 12]


def test_costs_within_the_budget_keep_every_cadence_and_record_every_step() -> None:
    costs = {"cheap": 0.002, "middle": 0.004, "dear": 0.1}
    due, spent, elapsed = simulated(Schedule(PLANS, 0.02), range(1, 2001), costs)
    assert sent(due, "cheap")[-300:] == list(range(505, 2001, 5))
    assert sent(due, "middle")[-150:] == list(range(510, 2001, 10))
    assert sent(due, "dear")[-8:] == list(range(1650, 2001, 50))
    assert all("cheap" in (*found.sent, *found.recorded) for step, found in due.items() if step > 500)
    assert spent[-1] / elapsed[-1] < 0.02


def test_the_first_step_measures_all_but_the_late_and_is_not_charged() -> None:
    schedule = Schedule(PLANS, 0.02)
    due, _, _ = simulated(schedule, range(1, 2), {"cheap": 50.0, "middle": 70.0})
    assert due[1] == Due(("cheap", "middle"), ())
    assert schedule.saved == 0.0
    again, _, _ = simulated(schedule, range(2, 300), {"cheap": 0.001, "middle": 0.01, "dear": 9.0})
    assert len(sent(again, "cheap")) > 50, "a cold first measurement is no guide"


def test_a_dear_probe_waits_until_it_is_saved_for() -> None:
    due, spent, elapsed = simulated(Schedule(PLANS, 0.02), range(1, 5001), {"cheap": 0.001, "middle": 0.01, "dear": 15})
    found = sent(due, "dear")
    assert EXPECTED_STEPS["dear"] / 0.02 <= found[0] <= 1.5 * EXPECTED_STEPS["dear"] / 0.02
    assert all(step % 50 == 0 for step in found)
    assert 4 <= len(found) <= 6
    assert spent[-1] <= 0.02 * elapsed[-1]


def test_several_dear_probes_take_turns_and_the_cheap_ones_do_not_starve() -> None:
    plans = {"cheap": Plan(every=10), **{f"dear {n}": Plan(every=50, cost="dear", late=True) for n in range(3)}}
    due, _, _ = simulated(
        Schedule(plans, 0.02), range(1, 20_001), {"cheap": 0.02, "dear 0": 10.0, "dear 1": 20.0, "dear 2": 60.0}
    )
    counts = {name: len(sent(due, name)) for name in plans}
    assert counts["cheap"] > 1500
    assert counts["dear 0"] > counts["dear 1"] > counts["dear 2"] >= 1


def test_the_recorder_does_not_take_what_the_cadences_need_nor_they_all_of_its_share() -> None:
    costs = {"cheap": 0.02, "middle": 0.05, "dear": 100.0}
    due, spent, elapsed = simulated(Schedule(PLANS, 0.02), range(1, 20_001), costs)
    recorded = [step for step, found in due.items() if found.recorded]
    assert sent(due, "cheap")[-1000:] == list(range(15_005, 20_001, 5))
    assert 0.15 * 20_000 < len(recorded) < 0.35 * 20_000  # a quarter of 2 %, at 2 % each
    assert spent[-1] <= 0.02 * elapsed[-1] + 100


def test_what_would_be_recorded_more_seldom_than_it_is_sent_is_not_recorded() -> None:
    due, _, _ = simulated(Schedule({"cheap": Plan(every=5, recorded=True)}, 0.02), range(1, 4001), {"cheap": 0.5})
    assert not any(found.recorded for found in due.values())
    assert len(sent(due, "cheap")) > 100


durations = st.floats(1e-4, 10.0)


@given(
    budget=st.floats(0.001, 0.5),
    costs=st.fixed_dictionaries({"cheap": st.floats(1e-6, 1.0), "middle": st.floats(1e-5, 5.0), "dear": durations}),
    usual=durations,
    fixed=st.floats(0.0, 1.0),
    cold=st.floats(1.0, 100.0),
    noise=st.floats(0.0, 1.5),
    seed=st.integers(0, 99),
    trouble=st.none() | st.integers(2, 300),
)
def test_spending_never_exceeds_the_budget_by_more_than_one_step_in_any_window_by_more_than_the_purse_holds(
    budget: float, costs: dict[str, float], usual: float, fixed: float, cold: float, noise: float, seed: int,
    trouble: int | None,
) -> None:  # fmt: skip
    source = random.Random(seed)
    schedule = Schedule(PLANS, budget)
    spent, elapsed, dearest, largest = [0.0], [0.0], 0.0, 0.0
    for step in range(1, 400):
        if step == trouble:
            schedule.tighten(10**6, after=step - 1)
        due = schedule.due(step)
        factor = cold if step == 1 else 1.0
        paid = {n: factor * costs[n] * source.lognormvariate(0, noise) for n in (*due.sent, *due.recorded)}
        length = usual * source.lognormvariate(0, noise)
        own = fixed * budget * length  # what the session itself takes leaves something, or nothing
        schedule.observe(length, own, paid)
        if step <= WARM_UP:
            continue
        share = min(1.0, TIGHT * budget) if trouble and step >= trouble else budget
        dearest, largest = max(dearest, own + sum(paid.values())), max(largest, schedule.capacity)
        spent.append(spent[-1] + own + sum(paid.values()))
        elapsed.append(elapsed[-1] + share * (length + own + sum(paid.values())))
    over = [inside - allowed for inside, allowed in zip(spent, elapsed, strict=True)]
    # fixed costs below the budget are always covered, so the purse is short by one step at most
    assert max(over) <= dearest * (1 + 1e-9)
    lowest = over[0]
    for value in over:
        lowest = min(lowest, value)
        assert value - lowest <= (largest + dearest) * (1 + 1e-9) + allowance(over)


def allowance(over: list[float]) -> float:
    """Before the first look at the accounts the purse is not cut to what it holds."""
    return max(0.0, -min(over[:4]))


def test_when_the_session_alone_breaks_the_budget_nothing_is_measured_after_the_warm_up() -> None:
    due, _, _ = simulated(Schedule(PLANS, 0.02), range(1, 2000), dict.fromkeys(PLANS, 0.1), fixed=0.03)
    assert [step for step, found in due.items() if found.sent or found.recorded] == [1, 5, 10, 15, 20]


def test_what_is_promised_is_measured_though_the_session_alone_breaks_the_budget() -> None:
    plans = {**PLANS, "cheap": Plan(every=5, recorded=True, at_least=200), "other": Plan(every=10, at_least=300)}
    costs = dict.fromkeys(plans, 0.1)
    due, spent, elapsed = simulated(Schedule(plans, 0.02), range(1, 2001), costs, fixed=0.03)
    assert sent(due, "cheap") == [1, 5, 10, 15, 20, *range(200, 2001, 200)]
    assert sent(due, "other") == [1, 10, 20, *range(300, 2001, 300)]
    assert sent(due, "middle") == [1]
    assert not any(found.recorded for found in due.values())
    assert spent[-1] / elapsed[-1] < 0.031
    due, _, _ = simulated(Schedule(plans, 0.5), range(1, 2001), dict.fromkeys(plans, 0.001))
    assert set(range(100, 2001, 5)) <= set(sent(due, "cheap")), "what is paid for comes as often as it is set"


def test_what_is_promised_is_made_rarer_where_it_costs_too_much() -> None:
    plans = {"cheap": Plan(every=5, at_least=100), "other": Plan(every=5, at_least=100)}
    due, spent, elapsed = simulated(Schedule(plans, 0.02), range(1, 20_001), dict.fromkeys(plans, 2.0), fixed=0.02)
    assert sent(due, "cheap")[-3:] == [18_400, 19_200, 20_000]
    assert spent[-1] - spent[20] <= 1.25 * 0.02 * (elapsed[-1] - elapsed[20]) * 1.02


EARLY_PLANS = {
    "cheap": Plan(every=5, recorded=True), "dear": Plan(every=50, cost="dear", late=True),
    "short": Plan(every=200, cost="dear", late=True, first=4),
}  # fmt: skip


def test_an_allowance_gives_a_short_training_what_a_long_one_has() -> None:
    """600 steps of 15 ms: 0.18 s of budget, which alone buys a few points of the cheap probe and none of the dear."""
    costs = {"cheap": 0.004, "dear": 0.2, "short": 0.06}
    alone, spent, _ = simulated(Schedule(EARLY_PLANS, 0.02), range(1, 601), costs, step_seconds=lambda step: 0.015)
    assert not sent(alone, "dear")
    assert len(sent(alone, "cheap")) < 60
    due, spent, elapsed = simulated(
        Schedule(EARLY_PLANS, 0.02, 1.0), range(1, 40_001), costs, step_seconds=lambda step: 0.015
    )
    assert set(range(5, 601, 5)) <= set(sent(due, "cheap"))
    assert sent(due, "dear")[0] == 250, "after the one that is nearer to its price"
    assert sent(due, "short")[0] == 200
    after = [spent[step] - spent[20] - 0.02 * (elapsed[step] - elapsed[20]) for step in range(20, len(spent))]
    assert 0.5 < max(after) <= 1.0 + 0.204


def test_what_a_cheap_probe_will_need_of_an_allowance_is_kept_for_it() -> None:
    costs = {"cheap": 0.004, "dear": 0.3, "short": 0.06}
    due, _, _ = simulated(Schedule(EARLY_PLANS, 0.02, 1.0), range(1, 601), costs, step_seconds=lambda step: 0.015)
    assert set(range(5, 601, 5)) <= set(sent(due, "cheap"))


def test_an_allowance_is_given_once_in_a_training() -> None:
    costs = {"cheap": 0.004, "dear": 0.2, "short": 0.06}
    first = Schedule(EARLY_PLANS, 0.02, 1.0)
    simulated(first, range(1, 400), costs, step_seconds=lambda step: 0.015)
    second = Schedule(EARLY_PLANS, 0.02, 1.0)
    second.load_state_dict(first.state_dict())
    _, spent, elapsed = simulated(second, range(400, 1200), costs, step_seconds=lambda step: 0.015)
    assert spent[-1] - spent[20] <= first.saved + 0.02 * (elapsed[-1] - elapsed[20]) + 0.21
    cut = Schedule(EARLY_PLANS, 0.02, 1.0)
    simulated(cut, range(1, 10), costs, step_seconds=lambda step: 0.015)
    third = Schedule(EARLY_PLANS, 0.02, 1.0)
    third.load_state_dict(cut.state_dict())
    due, _, _ = simulated(third, range(10, 300), costs, step_seconds=lambda step: 0.015)
    assert sent(due, "dear"), "a training that was cut in its warm-up has it still"


def test_steps_that_become_longer_buy_more_and_one_very_long_step_does_not() -> None:
    costs = {"cheap": 1.0, "middle": 1.0, "dear": 1e6}
    due, _, _ = simulated(
        Schedule(PLANS, 0.02), range(1, 2001), costs, step_seconds=lambda step: 1.0 if step <= 1000 else 10.0
    )
    before, after = (len([s for s in sent(due, "cheap") if a < s <= a + 1000]) for a in (0, 1000))
    assert after > 3 * before
    once, _, _ = simulated(
        Schedule(PLANS, 0.02), range(1, 1001), costs, step_seconds=lambda step: 1e4 if step == 500 else 1.0
    )
    assert len(sent(once, "cheap")) <= before + 2


@pytest.mark.parametrize("budget", [None, 0.5])
def test_tightening_halves_cadences_sends_what_is_recorded_and_ends(budget: float | None) -> None:
    schedule = Schedule({"some": Plan(every=10), "always": Plan(every=5, recorded=True)}, budget)
    costs = {"some": 1e-4, "always": 1e-4}
    simulated(schedule, range(1, 101), costs)
    schedule.tighten(20, after=100)
    due, _, _ = simulated(schedule, range(101, 151), costs)
    assert sent(due, "some") == [105, 110, 115, 120, 130, 140, 150]
    assert sent(due, "always") == [*range(101, 121), *range(125, 151, 5)]
    assert not any(found.recorded for step, found in due.items() if step <= 120)
    assert all(found.recorded for step, found in due.items() if step > 120 and step % 5)


def test_tightening_spends_so_many_times_the_budget_and_no_more() -> None:
    schedule = Schedule(PLANS, 0.02)
    costs = {"cheap": 0.3, "middle": 0.5, "dear": 50.0}
    _, before, elapsed = simulated(schedule, range(1, 4001), costs)
    assert before[-1] - before[1] <= 0.02 * elapsed[-1] + 50
    schedule.tighten(4000, after=4000)
    _, during, elapsed = simulated(schedule, range(4001, 8001), costs)
    assert 0.02 * TIGHT * 0.7 < during[-1] / elapsed[-1] <= 0.02 * TIGHT + 50 / elapsed[-1]


def test_after_a_resumption_the_first_step_is_warm_up_and_what_was_learnt_is_kept() -> None:
    costs = {"cheap": 0.01, "middle": 0.02, "dear": 4.0}
    schedule = Schedule(PLANS, 0.02)
    simulated(schedule, range(1, 701), costs)
    resumed = Schedule(PLANS, 0.02)
    resumed.load_state_dict(schedule.state_dict())
    assert resumed.state_dict() == schedule.state_dict()
    assert {name: resumed.expected(name) for name in PLANS} == {name: schedule.expected(name) for name in PLANS}
    assert resumed.due(701) == Due(("cheap", "middle"), ())
    resumed.observe(1.0, 0.0, {"cheap": 9.0, "middle": 9.0})
    assert resumed.saved == schedule.saved
    assert resumed.expected("cheap") == schedule.expected("cheap")


def test_state_of_probes_that_are_gone_is_passed_over() -> None:
    schedule = Schedule(PLANS, 0.02)
    simulated(schedule, range(1, 100), dict.fromkeys(PLANS, 0.01))
    other = Schedule({"middle": PLANS["middle"]}, 0.02)
    other.load_state_dict(schedule.state_dict())
    assert other.state_dict()["balances"].keys() == other.state_dict()["costs"].keys() == {"middle"}


def test_a_probe_that_is_dropped_leaves_its_share_to_the_others() -> None:
    schedule = Schedule(PLANS, 0.02)
    costs = {"cheap": 0.001, "middle": 0.5, "dear": 15.0}
    before, _, _ = simulated(schedule, range(1, 3001), costs)
    schedule.drop("dear")
    after, _, _ = simulated(schedule, range(3001, 6001), costs)
    assert not sent(after, "dear")
    assert len(sent(after, "middle")) > 1.2 * len(sent(before, "middle"))


def test_a_rollback_to_an_earlier_step_does_not_stop_a_probe() -> None:
    schedule = Schedule({"some": Plan(every=10)}, 0.02)
    simulated(schedule, range(1, 1001), {"some": 0.01})
    due, _, _ = simulated(schedule, range(501, 541), {"some": 0.01})
    assert sent(due, "some") == [510, 520, 530, 540]


@pytest.mark.parametrize(("fixed", "least"), [(0.001, 0), (0.019, 1500), (0.03, 2800)])
@pytest.mark.parametrize("dear", [0.1, 30.0])
def test_while_it_is_quiet_nothing_is_due(fixed: float, least: int, dear: float) -> None:
    schedule = Schedule({**PLANS, "promised": Plan(every=8, at_least=80)}, 0.02)
    costs = {"cheap": 0.002, "middle": 0.004, "dear": dear, "promised": 0.02}
    simulated(schedule, range(1, 3001), costs, fixed=fixed)
    quiet, seen = 0, 0
    for step in range(3001, 6001):
        due = schedule.due(step)
        if quiet:
            assert due == Due()
            seen, quiet = seen + 1, quiet - 1
        elif due == Due():
            quiet = schedule.quiet(step)
        schedule.observe(1.0, fixed, {name: costs[name] for name in (*due.sent, *due.recorded)})
    assert seen >= least, seen


@pytest.mark.parametrize("steps", [2, 7, 16])
def test_several_steps_seen_together_count_as_one_after_the_other(steps: int) -> None:
    together, apart = Schedule(PLANS, 0.02), Schedule(PLANS, 0.02)
    for schedule in (together, apart):
        simulated(schedule, range(1, 101), dict.fromkeys(PLANS, 0.01), fixed=0.005)
    before = together.saved
    together.observe(1.1, 0.004, {"cheap": 0.5}, steps=steps)
    for at in range(steps):
        apart.observe(1.1, 0.004, {"cheap": 0.5} if at == steps - 1 else {})
    spent = 0.004 * steps + 0.5
    assert together.saved - before == pytest.approx(0.02 * (1.1 * steps + spent) - spent, rel=1e-9)
    assert together.saved == pytest.approx(apart.saved, rel=1e-9)
    assert together.state_dict()["step_seconds"] == pytest.approx(apart.state_dict()["step_seconds"], rel=0.01)


def test_one_very_long_step_among_several_counts_as_some() -> None:
    schedule = Schedule(PLANS, 0.02)
    simulated(schedule, range(1, 101), dict.fromkeys(PLANS, 0.01))
    before = schedule.saved
    schedule.observe((15 + 1000) / 16, 0.0, {}, steps=16)
    assert schedule.saved - before == pytest.approx(0.02 * (15 + 4), rel=1e-9)


def test_tightening_ends_the_quiet() -> None:
    schedule = Schedule(PLANS, 0.02)
    simulated(schedule, range(1, 1001), dict.fromkeys(PLANS, 0.01), fixed=0.03)
    schedule.due(1001)
    assert schedule.quiet(1001) > 10
    schedule.tighten(5, after=1001)
    assert schedule.quiet(1001) == 0
