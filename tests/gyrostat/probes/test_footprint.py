import torch
from torch import nn

from gyrostat.probes.footprint import REPORT_EVERY, Footprint, held_bytes
from gyrostat.probes.network import Network
from gyrostat.probes.stopwatch import Stopwatch
from gyrostat.probes.warmstart import WarmStarts


def test_tensors_in_attributes_and_containers_count_once_and_the_model_s_do_not() -> None:
    model = nn.Linear(4, 4)
    network = Network(model, torch.optim.SGD(model.parameters(), lr=0.1))
    starts = WarmStarts(fresh=0.1, cold_every=5)
    starts.keep("a", torch.ones(10))
    starts.keep("b", torch.ones(3, dtype=torch.float64))
    shared = torch.ones(100)
    holder = WarmStarts(fresh=0.1, cold_every=5)
    holder.network = network  # type: ignore[attr-defined]
    holder.rest = [(model.weight, shared[:5]), {"again": shared}, {1.0}, model]  # type: ignore[attr-defined]
    assert held_bytes([starts, holder]) == 10 * 4 + 3 * 8 + 100 * 4


def test_time_is_told_every_so_often_and_memory_more_and_more_seldom() -> None:
    footprint = Footprint(Stopwatch(), lambda: ((), 7))
    found = {step: readings for step in range(1, 501) if (readings := footprint.readings(step))}
    assert list(found) == list(range(REPORT_EVERY, 501, REPORT_EVERY))
    assert [step for step, readings in found.items() if "probe.memory_bytes" in readings] == [50, 100, 200, 400]
    assert found[50]["probe.memory_bytes"] == 7
    assert all({"probe.overhead", "probe.total_overhead"} <= readings.keys() for readings in found.values())


def test_after_a_rollback_it_goes_on_and_the_first_report_of_a_resumed_run_comes_soon() -> None:
    footprint = Footprint(Stopwatch(), lambda: ((), 0))
    assert [step for step in range(733, 800) if footprint.readings(step)] == [750]
    assert [step for step in range(20, 120) if footprint.readings(step)] == [20, 50, 100]


def test_the_total_share_leaves_out_what_was_before() -> None:
    clock = Stopwatch()
    with clock:
        sum(range(100_000))
    assert clock.total_share() == 0.0
    clock.start_total()
    sum(range(100_000))
    assert clock.total_share() == 0.0
    with clock:
        sum(range(100_000))
        assert 0 < clock.total_share() < 1
