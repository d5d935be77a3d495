import numpy as np
import pytest

from tests.app.alerts.streams import DEPTH, MATRICES, PARAMETERS, context, frame, judge


def _over_depth(first: float, last: float, biases: float = 1.0) -> np.ndarray:
    norms = np.full(len(PARAMETERS), biases, dtype=np.float32)
    norms[::2] = np.geomspace(first, last, DEPTH)
    return norms


def test_it_names_the_first_layers_after_three_evaluations() -> None:
    stream = [frame(5 * i, {"gradient.norm": _over_depth(1e-7, 1.0)}) for i in range(1, 10)]
    (change,) = judge("vanishing_gradient", stream)
    assert (change.step, change.onset_step) == (15, 5)
    assert change.names[:3] == MATRICES[:3]
    assert "hardly learn" in change.summary


def test_a_ratio_beyond_float32_is_critical_and_a_lesser_one_a_warning() -> None:
    for first, severity in ((1e-9, "critical"), (1e-5, "warning")):
        stream = [frame(5 * i, {"gradient.norm": _over_depth(first, 1.0)}) for i in range(1, 5)]
        assert judge("vanishing_gradient", stream)[0].severity == severity


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e6])
def test_neither_a_small_nor_a_large_gradient_everywhere_is_a_finding(scale: float) -> None:
    stream = [frame(i, {"gradient.norm": scale * _over_depth(0.02, 1.0)}) for i in range(1, 50)]
    assert judge("vanishing_gradient", stream) == []


def test_biases_and_gains_with_tiny_gradients_do_not_matter() -> None:
    stream = [frame(i, {"gradient.norm": _over_depth(0.5, 1.0, biases=1e-12)}) for i in range(1, 50)]
    assert judge("vanishing_gradient", stream) == []


def test_a_net_of_three_layers_and_one_with_dead_ends_are_not_judged() -> None:
    shallow = context(parameter=("a.weight", "b.weight", "c.weight"), matrix=("a.weight", "b.weight", "c.weight"))
    stream = [frame(i, {"gradient.norm": np.array([1e-9, 1e-4, 1.0])}) for i in range(1, 20)]
    assert judge("vanishing_gradient", stream, shallow) == []
    nothing = [frame(i, {"gradient.norm": 0.0}) for i in range(1, 20)]
    assert judge("vanishing_gradient", nothing) == []


def test_two_evaluations_as_under_a_zero_initialized_head_do_not_open_it() -> None:
    stream = [frame(i, {"gradient.norm": _over_depth(1e-9 if i < 3 else 0.3, 1.0)}) for i in range(1, 50)]
    assert judge("vanishing_gradient", stream) == []


def test_without_shapes_weights_are_told_by_name() -> None:
    norms = np.array([1e-8, 1.0, 1e-7, 1.0, 1e-2, 1.0, 1.0, 1.0], dtype=np.float32)
    names = ("a.weight", "a_norm.weight", "b.weight", "bn1.weight", "c.weight", "c.bias", "d.weight", "ln_f.weight")
    run = context(parameter=names, matrix=())
    (change,) = judge("vanishing_gradient", [frame(i, {"gradient.norm": norms}) for i in range(1, 5)], run)
    assert change.names == ("a.weight", "b.weight")


def test_it_resolves_when_the_gradient_flows_again() -> None:
    stream = [frame(i, {"gradient.norm": _over_depth(1e-7 if i < 20 else 0.5, 1.0)}) for i in range(1, 60)]
    assert [c.change for c in judge("vanishing_gradient", stream)] == ["opened", "resolved"]
