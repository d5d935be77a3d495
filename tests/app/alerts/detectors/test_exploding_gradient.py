import numpy as np

from app.alerts.detectors.exploding_gradient import _global_norm
from gyrostat.spec.presets import PRESETS
from tests.app.alerts.streams import MATRICES, PARAMETERS, context, frame, judge


def _norms(values: list[float]) -> list:  # type: ignore[type-arg]
    return [frame(5 * i, {"gradient.global_norm": value}) for i, value in enumerate(values, start=1)]


def test_ten_times_its_own_norm_and_above_the_ceiling_is_an_explosion() -> None:
    (change,) = judge("exploding_gradient", _norms([20.0] * 10 + [250.0]))
    assert (change.step, change.onset_step, change.severity) == (55, 55, "critical")
    assert change.evidence[0].threshold == 200.0


def test_below_the_ceiling_nothing_is_an_explosion_however_small_it_was() -> None:
    assert judge("exploding_gradient", _norms([1e-4] * 20 + [5.0, 50.0, 99.0])) == []


def test_a_large_but_usual_norm_is_not_an_explosion() -> None:
    rng = np.random.default_rng(0)
    assert judge("exploding_gradient", _norms(list(3e5 * np.exp(0.5 * rng.standard_normal(300))))) == []


def test_norms_that_shrank_with_the_loss_may_come_back_to_the_first_ones() -> None:
    norms = list(400 * np.exp(-np.arange(200) / 20))
    assert judge("exploding_gradient", _norms([*norms, 350.0, 420.0])) == []


def test_an_exploded_first_gradient_is_recognized_by_the_loss() -> None:
    stream = [frame(step, {"loss.train": 2.8 * 30.0 ** (step - 1)}) for step in range(1, 5)]
    stream += [frame(5, {"loss.train": 1e13, "gradient.global_norm": 4e11})]
    (change,) = judge("exploding_gradient", stream)
    assert change.step == 5


def test_a_gradient_out_of_range_after_a_rising_loss_is_an_explosion_and_otherwise_not() -> None:
    calm = [frame(1, {"loss.train": 2.3, "gradient.global_norm": 1.0}), frame(2, {"gradient.global_norm": np.nan})]
    assert judge("exploding_gradient", calm) == []
    wild = [frame(1, {"loss.train": 2.3, "gradient.global_norm": 1.0}), frame(2, {"loss.train": 1e6})]
    (change,) = judge("exploding_gradient", [*wild, frame(3, {"gradient.global_norm": np.nan})])
    assert "left the range" in change.summary


def test_growth_towards_the_input_is_an_explosion_over_depth() -> None:
    norms = np.ones(len(PARAMETERS), dtype=np.float32)
    norms[::2] = np.geomspace(3e4, 10.0, len(MATRICES))
    # large from the start, so that only depth tells
    stream = [frame(5 * i, {"gradient.norm": norms}) for i in range(1, 4)]
    (change,) = judge("exploding_gradient", stream)
    assert change.step == 10
    assert change.names[0] == MATRICES[0]
    assert "times that of the last" in change.summary


def test_the_layers_with_the_largest_gradients_are_named_non_finite_ones_first() -> None:
    norms = np.ones(len(PARAMETERS), dtype=np.float32)
    norms[6], norms[2] = 1e6, np.inf
    stream = [frame(5 * i, {"gradient.norm": 1.0, "gradient.global_norm": 4.0}) for i in range(1, 10)]
    (change,) = judge("exploding_gradient", [*stream, frame(50, {"gradient.norm": norms, "gradient.global_norm": 1e6})])
    assert change.names[:2] == (PARAMETERS[2], PARAMETERS[6])


def test_where_the_run_clips_it_is_a_warning() -> None:
    clipped = context(PRESETS["text-transformer"].document)
    (change,) = judge("exploding_gradient", _norms([20.0] * 10 + [250.0]), clipped)
    assert change.severity == "warning"
    assert "clips" in change.summary


def test_one_explosion_is_kept_out_of_the_baseline() -> None:
    changes = judge("exploding_gradient", _norms([20.0] * 10 + [1e6] * 70 + [20.0] * 25 + [1e6]))
    assert [c.change for c in changes] == ["opened", "resolved", "opened"]


def test_the_norm_over_a_signalling_nan_is_nan_without_a_warning() -> None:
    norms = np.array([0x3F800000, 0x7F800001], dtype="<u4").view("<f4")
    assert np.isnan(_global_norm(norms))
