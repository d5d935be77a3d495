from collections.abc import Iterator

import pytest

from gyrostat.probes.schedule import MAX_STRETCH, Schedule, stretches

EVERY = {"cheap": 5, "middle": 10, "dear": 50}


def steps_due(schedule: Schedule, name: str, steps: range) -> list[int]:
    return [step for step in steps if name in schedule.due(step)]


def predicted(costs: dict[str, float], factors: dict[str, int]) -> float:
    return sum(cost / (EVERY[name] * factors[name]) for name, cost in costs.items())


def test_without_a_budget_a_probe_is_due_at_step_one_and_at_multiples_whatever_it_costs() -> None:
    schedule = Schedule(EVERY, None)
    found = []
    for step in range(1, 161):
        if "dear" in schedule.due(step):
            found.append(step)
        schedule.observe(0.001, 0.0, {"dear": 10.0})
    assert found == [1, 50, 100, 150]
    assert steps_due(Schedule(EVERY, None), "dear", range(77, 160)) == [100, 150]


def test_costs_within_the_budget_stretch_nothing() -> None:
    costs = {"cheap": 0.001, "middle": 0.002, "dear": 0.1}
    assert stretches(costs, EVERY, 1.0, 0.02) == {"cheap": 1, "middle": 1, "dear": 1}


def test_the_dear_probe_is_stretched_first_and_the_whole_stays_within_the_budget() -> None:
    costs = {"cheap": 0.01, "middle": 0.02, "dear": 4.0}
    factors = stretches(costs, EVERY, 1.0, 0.02)
    assert factors == {"cheap": 1, "middle": 1, "dear": 5}
    assert predicted(costs, factors) <= 0.02


def test_equal_loads_share_equally() -> None:
    assert stretches({"cheap": 0.5, "middle": 1.0}, EVERY, 1.0, 0.04) == {"cheap": 5, "middle": 5}


@pytest.mark.parametrize("allowed", [0.0, 1e-9])
def test_no_cadence_is_stretched_beyond_the_most(allowed: float) -> None:
    assert stretches({"cheap": 1.0, "dear": 9.0}, EVERY, 1.0, allowed) == {"cheap": MAX_STRETCH, "dear": MAX_STRETCH}


def test_before_a_step_was_timed_nothing_is_stretched_and_free_probes_never_are() -> None:
    assert stretches({"dear": 9.0}, EVERY, 0.0, 0.0) == {"dear": 1}
    assert stretches({"cheap": 0.0, "dear": 0.0}, EVERY, 1.0, 0.0)["cheap"] <= MAX_STRETCH


def costs_of_a_run(schedule: Schedule, steps: range, costs: dict[str, float]) -> Iterator[tuple[int, list[str]]]:
    for step in steps:
        due = schedule.due(step)
        yield step, due
        schedule.observe(1.0, 0.0, {name: costs[name] for name in due})


def test_a_run_with_a_budget_measures_all_at_first_then_stretches_on_the_grid_of_the_cadence() -> None:
    costs = {"cheap": 0.01, "middle": 0.02, "dear": 4.0}
    schedule = Schedule(EVERY, 0.02)
    due = dict(costs_of_a_run(schedule, range(1, 2001), costs))
    assert due[1] == ["cheap", "middle", "dear"]
    assert [step for step, names in due.items() if "dear" in names] == [1, *range(300, 2001, 250)]
    assert [step for step, names in due.items() if "cheap" in names] == [1, *range(5, 2001, 5)]
    spent = sum(costs[name] for step, names in due.items() for name in names if step > 1)
    assert spent / 2000 <= 0.02


def test_an_expensive_first_measurement_is_forgotten() -> None:
    schedule = Schedule({"dear": 10}, 0.02)
    assert schedule.due(1) == ["dear"]
    schedule.observe(1.0, 0.0, {"dear": 50.0})
    assert schedule.factors == {"dear": MAX_STRETCH}
    for _ in range(12):
        schedule.observe(1.0, 0.0, {"dear": 0.1})
    assert schedule.factors == {"dear": 1}


def test_what_the_session_itself_costs_comes_out_of_the_budget() -> None:
    schedule = Schedule({"dear": 10}, 0.02)
    schedule.observe(1.0, 0.015, {"dear": 0.1})
    assert schedule.factors == {"dear": 2}  # 0.005 s a step are left, and 0.01 s a step wanted
    schedule.observe(1.0, 0.5, {"dear": 0.1})
    assert schedule.factors["dear"] > 2


def test_one_very_long_step_does_not_pass_for_a_long_step_time() -> None:
    schedule = Schedule({"dear": 10}, 0.02)
    for seconds in (1.0, 1.0, 1000.0):
        schedule.observe(seconds, 0.0, {})
    schedule.observe(1.0, 0.0, {"dear": 1.0})
    assert schedule.factors == {"dear": 5}


def test_tightening_halves_cadences_unstretched_and_ends() -> None:
    schedule = Schedule({"dear": 10, "always": 1}, 0.02)
    schedule.due(1)
    schedule.observe(1.0, 0.0, {"dear": 100.0})
    schedule.due(20)
    schedule.tighten(20)
    assert steps_due(schedule, "dear", range(21, 60)) == [25, 30, 35, 40]
    without = Schedule({"dear": 10}, None)
    without.due(20)
    without.tighten(10)
    assert steps_due(without, "dear", range(21, 51)) == [25, 30, 40, 50]


def test_after_a_resumption_all_is_measured_once_and_the_stretch_is_kept() -> None:
    costs = {"cheap": 0.01, "middle": 0.02, "dear": 4.0}
    schedule = Schedule(EVERY, 0.02)
    list(costs_of_a_run(schedule, range(1, 701), costs))
    resumed = Schedule(EVERY, 0.02)
    resumed.load_state_dict(schedule.state_dict())
    assert resumed.factors == schedule.factors == {"cheap": 1, "middle": 1, "dear": 5}
    assert resumed.state_dict() == schedule.state_dict()
    assert resumed.due(701) == ["cheap", "middle", "dear"]
    assert steps_due(resumed, "dear", range(702, 1001)) == [1000]


def test_state_of_probes_that_are_gone_is_passed_over() -> None:
    schedule = Schedule(EVERY, 0.02)
    list(costs_of_a_run(schedule, range(1, 11), {"cheap": 1.0, "middle": 1.0, "dear": 1.0}))
    fewer = Schedule({"cheap": 5, "new": 7}, 0.02)
    fewer.load_state_dict(schedule.state_dict())
    assert set(fewer.factors) == {"cheap", "new"}


def test_a_dropped_probe_is_never_due_again() -> None:
    schedule = Schedule(EVERY, None)
    schedule.drop("dear")
    schedule.drop("dear")
    schedule.observe(1.0, 0.0, {"dear": 1.0})
    assert schedule.due(50) == ["cheap", "middle"]


def test_a_rollback_to_an_earlier_step_does_not_stop_a_probe() -> None:
    schedule = Schedule({"dear": 10}, 0.02)
    schedule.due(1)
    schedule.observe(1.0, 0.0, {"dear": 0.3})
    schedule.due(1000)
    assert steps_due(schedule, "dear", range(501, 541)) == [510, 530]


def test_a_late_probe_waits_for_its_cadence_at_the_start_and_after_a_resumption() -> None:
    for budget in (None, 0.5):
        schedule = Schedule({"cheap": 5, "dear": 4}, budget, late={"dear"})
        assert [schedule.due(step) for step in (1, 2, 4, 5, 8)] == [["cheap"], [], ["dear"], ["cheap"], ["dear"]]
    resumed = Schedule({"cheap": 5, "dear": 4}, 0.5, late={"dear"})
    assert resumed.due(103) == ["cheap"]
    assert resumed.due(104) == ["dear"]
