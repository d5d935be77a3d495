import numpy as np

from app.alerts.model import FrameView
from tests.app.alerts.streams import MATRICES, PARAMETERS, frame, judge


def _ratios(matrices: float, biases: float = 1e-3, odd: dict[int, float] | None = None) -> np.ndarray:
    values = np.full(len(PARAMETERS), biases, dtype=np.float32)
    values[::2] = matrices
    for index, value in (odd or {}).items():
        values[2 * index] = value
    return values


def _stream(ratios: np.ndarray, rate: float = 0.1, loss: float = 2.3, count: int = 20) -> list[FrameView]:
    return [
        frame(10 * i, {"update.ratio": ratios, "optimizer.learning_rate": rate, "loss.train": loss})
        for i in range(1, count)
    ]


def test_a_layer_that_moves_too_far_for_three_evaluations_is_named() -> None:
    (change,) = judge("update_ratio", _stream(_ratios(1e-3, odd={3: 0.4, 5: 0.2})))
    assert (change.names, change.onset_step, change.step) == ((MATRICES[3], MATRICES[5]), 10, 30)
    assert "overwritten" in change.summary


def test_biases_that_start_at_zero_may_move_far() -> None:
    assert judge("update_ratio", _stream(_ratios(1e-3, biases=50.0))) == []


def test_a_layer_that_hardly_moves_while_nothing_was_learnt_is_named() -> None:
    (change,) = judge("update_ratio", _stream(_ratios(1e-3, odd={0: 1e-9})))
    assert change.names == (MATRICES[0],)
    assert "hardly learn" in change.summary


def test_small_updates_at_the_end_of_a_training_are_fine() -> None:
    learnt = _stream(_ratios(1e-3), count=5)
    end = [
        frame(s, {"update.ratio": _ratios(1e-9), "optimizer.learning_rate": 0.1, "loss.train": 0.01})
        for s in range(50, 500, 10)
    ]
    decayed = [
        frame(s, {"update.ratio": _ratios(1e-9), "optimizer.learning_rate": 1e-4, "loss.train": 2.3})
        for s in range(500, 900, 10)
    ]
    assert judge("update_ratio", [*learnt, *end, *decayed]) == []


def test_a_warmup_from_a_rate_of_zero_is_fine() -> None:
    stream = [
        frame(i, {"update.ratio": _ratios(1e-8 * i), "optimizer.learning_rate": 1e-6 * i, "loss.train": 2.3})
        for i in range(90)
    ]
    assert judge("update_ratio", stream) == []


def test_frozen_weights_are_not_a_finding() -> None:
    assert judge("update_ratio", _stream(_ratios(1e-3, odd={0: 0.0, 1: 0.0}))) == []


def test_the_low_side_can_be_switched_off() -> None:
    assert judge("update_ratio", _stream(_ratios(1e-9)), low=0) == []
