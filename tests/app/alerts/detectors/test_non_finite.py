import numpy as np
import pytest

from gyrostat.wire.values import ABSENT
from tests.app.alerts.streams import MODULES, PARAMETERS, context, frame, judge


def _vector(names: tuple[str, ...], broken: dict[int, float]) -> np.ndarray:
    values = np.ones(len(names), dtype=np.float32)
    for index, value in broken.items():
        values[index] = value
    return values


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("metric", ["loss.train", "loss.validation", "gradient.global_norm"])
def test_a_scalar_that_is_no_number_is_critical_at_once(metric: str, value: float) -> None:
    (change,) = judge("non_finite", [frame(1, {metric: 1.0}), frame(2, {metric: value})])
    assert (change.change, change.severity, change.onset_step, change.names) == ("opened", "critical", 2, ())
    assert change.evidence[0].metric == metric


def test_the_first_broken_module_in_order_of_depth_is_named_first() -> None:
    values = _vector(MODULES, {9: np.nan, 5: np.inf, 12: np.nan})
    (change,) = judge("non_finite", [frame(7, {"loss.train": np.nan, "activation.rms": values})])
    assert change.names == (MODULES[5], MODULES[9], MODULES[12])
    assert f"output of module {MODULES[5]}" in change.summary
    assert [item.metric for item in change.evidence] == ["loss.train", "activation.rms"]


def test_a_parameter_is_named_where_every_activation_is_finite() -> None:
    gradients = _vector(PARAMETERS, {4: np.inf})
    fine = {"activation.rms": 1.0, "activation.max_abs": 1.0}
    (change,) = judge("non_finite", [frame(3, {**fine, "gradient.norm": gradients, "weight.norm": 1.0})])
    assert change.names == (PARAMETERS[4],)
    (change,) = judge("non_finite", [frame(3, {**fine, "weight.norm": _vector(PARAMETERS, {6: np.nan})})])
    assert change.names == (PARAMETERS[6],)


def test_later_frames_where_everything_is_nan_do_not_hide_where_it_began() -> None:
    stream = [
        frame(9, {"loss.train": np.nan}),
        frame(10, {"loss.train": np.nan, "activation.rms": _vector(MODULES, {6: np.nan})}),
        *(frame(step, {"loss.train": np.nan, "activation.rms": np.nan}) for step in range(11, 100)),
    ]
    opened, updated = judge("non_finite", stream)
    assert (opened.change, opened.names) == ("opened", ())
    assert (updated.change, updated.names, updated.onset_step) == ("updated", (MODULES[6],), 9)


def test_what_was_not_measured_is_not_broken_even_beside_what_is() -> None:
    values = _vector(MODULES, {3: ABSENT})
    assert judge("non_finite", [frame(1, {"activation.rms": values})]) == []
    values = np.where(np.arange(len(MODULES)) == 3, ABSENT, values)
    values[8] = np.nan
    (change,) = judge("non_finite", [frame(1, {"activation.rms": values})])
    assert change.names == (MODULES[8],)


def test_it_resolves_after_twenty_finite_evaluations_and_then_names_anew() -> None:
    stream = [frame(1, {"activation.rms": _vector(MODULES, {2: np.nan})})]
    stream += [frame(step, {"activation.rms": 1.0}) for step in range(2, 30)]
    stream += [frame(30, {"activation.rms": _vector(MODULES, {7: np.nan})})]
    changes = judge("non_finite", stream)
    assert [(c.change, c.step, c.names) for c in changes] == [
        ("opened", 1, (MODULES[2],)),
        ("resolved", 21, (MODULES[2],)),
        ("opened", 30, (MODULES[7],)),
    ]


def test_names_are_bounded_in_a_net_of_thousands_of_layers() -> None:
    names = tuple(f"l{i}" for i in range(5000))
    broken = np.full(5000, np.nan, dtype=np.float32)
    (change,) = judge("non_finite", [frame(1, {"activation.rms": broken})], context(module=names))
    assert change.names[0] == "l0"
    assert len(change.names) == 32


def test_a_gradient_that_overflowed_at_its_loss_scale_is_no_finding_unless_the_scale_is_gone() -> None:
    broken = {"gradient.norm": np.inf, "gradient.global_norm": np.inf, "loss.train": 1.0, "precision.overflow": 1.0}
    assert judge("non_finite", [frame(1, {**broken, "precision.loss_scale": 65536.0})]) == []
    (change,) = judge("non_finite", [frame(1, {**broken, "precision.loss_scale": 0.5})])
    assert change.evidence[0].metric == "gradient.global_norm"
    (change,) = judge("non_finite", [frame(1, {**broken, "precision.loss_scale": 8.0, "loss.train": np.nan})])
    assert [item.metric for item in change.evidence] == ["loss.train"]
