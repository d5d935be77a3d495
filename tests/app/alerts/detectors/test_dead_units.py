import numpy as np

from app.alerts.engine import Engine
from gyrostat.spec.presets import PRESETS
from gyrostat.wire.values import ABSENT
from tests.app.alerts.streams import DEPTH, MODULES, context, frame, judge, only


def _zeros(dead: dict[int, float], usual: float = 0.55) -> np.ndarray:
    values = np.tile(np.array([0.0, usual], dtype=np.float32), DEPTH)
    for index, value in dead.items():
        values[index] = value
    return values


def test_three_evaluations_of_almost_nothing_but_zeros_are_dead_units() -> None:
    stream = [frame(10 * i, {"activation.zero_fraction": _zeros({3: 0.97} if i > 4 else {})}) for i in range(1, 20)]
    (change,) = judge("dead_units", stream)
    assert (change.names, change.onset_step, change.step, change.severity) == ((MODULES[3],), 50, 70, "warning")


def test_a_layer_of_only_zeros_is_critical_and_named_before_the_others() -> None:
    stream = [frame(10 * i, {"activation.zero_fraction": _zeros({3: 0.96, 9: 1.0})}) for i in range(1, 10)]
    (change,) = judge("dead_units", stream)
    assert change.severity == "critical"
    assert change.names == (MODULES[9], MODULES[3])
    assert "nothing but zeros" in change.summary


def test_half_and_even_nine_tenths_zeros_are_normal_for_relu() -> None:
    for share in (0.5, 0.8, 0.94):
        stream = [frame(10 * i, {"activation.zero_fraction": _zeros({}, share)}) for i in range(1, 60)]
        assert judge("dead_units", stream) == []


def test_a_layer_that_recovers_in_time_is_not_reported() -> None:
    stream = [
        frame(10 * i, {"activation.zero_fraction": _zeros({3: 1.0} if i % 3 else {3: 0.9})}) for i in range(1, 60)
    ]
    assert judge("dead_units", stream) == []


def test_dropout_is_left_out() -> None:
    run = context(module=tuple(name.replace("linear", "dropout") for name in MODULES))
    stream = [frame(10 * i, {"activation.zero_fraction": _zeros({0: 0.99, 4: 0.99})}) for i in range(1, 60)]
    assert judge("dead_units", stream, run) == []


def test_a_transformer_may_be_sparse_but_not_dead() -> None:
    run = context(PRESETS["text-transformer"].document)
    sparse = [frame(10 * i, {"activation.zero_fraction": _zeros({3: 0.98})}) for i in range(1, 60)]
    assert judge("dead_units", sparse, run) == []
    dead = [frame(10 * i, {"activation.zero_fraction": _zeros({3: 1.0})}) for i in range(1, 60)]
    assert judge("dead_units", dead, run)[0].names == (MODULES[3],)


def test_a_module_that_does_not_always_run_keeps_its_count() -> None:
    stream = [frame(10 * i, {"activation.zero_fraction": _zeros({3: 1.0 if i % 2 else ABSENT})}) for i in range(1, 20)]
    (change,) = judge("dead_units", stream)
    assert (change.step, change.onset_step) == (50, 10)


def test_outputs_that_are_no_numbers_are_no_sign_that_units_came_back() -> None:
    dead = [frame(10 * i, {"activation.zero_fraction": _zeros({3: 1.0})}) for i in range(1, 10)]
    # a comparison with zero is false of NaN: a network that broke tells a share of 0
    broken = {"activation.zero_fraction": 0.0, "activation.nonfinite_count": 64.0}
    (change,) = judge("dead_units", [*dead, *(frame(10 * i, broken) for i in range(10, 60))])
    assert change.change == "opened"
    alive = [frame(10 * i, {"activation.zero_fraction": _zeros({}), "activation.nonfinite_count": 0.0})
             for i in range(10, 60)]  # fmt: skip
    assert [change.change for change in judge("dead_units", [*dead, *alive])] == ["opened", "resolved"]


def test_a_module_that_broke_is_no_evidence() -> None:
    counts = np.zeros(len(MODULES))
    counts[3] = 64
    stream = [frame(10 * i, {"activation.zero_fraction": _zeros({3: 1.0, 9: 0.97})}) for i in range(1, 3)]
    stream.append(
        frame(30, {"activation.zero_fraction": _zeros({3: 1.0, 9: 0.97}), "activation.nonfinite_count": counts})
    )
    (change,) = judge("dead_units", stream)
    assert (change.names, [each.name for each in change.evidence]) == ((MODULES[9],), [MODULES[9]])


def test_it_must_span_some_steps_where_probes_look_at_every_one_and_asks_them_to() -> None:
    stream = [frame(i, {"activation.zero_fraction": _zeros({3: 1.0})}) for i in range(1, 40)]
    (change,) = judge("dead_units", stream)
    assert (change.step, change.onset_step) == (21, 1)
    engine = Engine(only("dead_units"), context(), None)
    assert engine.observe(stream[:1]) == []
    assert engine.tighten
