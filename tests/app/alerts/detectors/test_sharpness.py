import numpy as np

from app.alerts.model import FrameView
from tests.app.alerts.streams import frame, judge


def _stream(ratio: float, growth: float, steps: int = 300) -> list[FrameView]:
    rng = np.random.default_rng(0)
    stream = []
    for step in range(1, steps + 1):
        values = {"loss.train": float(np.exp(growth * step) * np.exp(0.02 * rng.standard_normal()))}
        if step % 50 == 0:
            values["curvature.sharpness_over_limit"] = ratio
        stream.append(frame(step, values))
    return stream


def test_above_the_limit_with_a_rising_loss_is_a_warning() -> None:
    (change,) = judge("sharpness", _stream(1.3, 0.01))
    assert (change.severity, change.onset_step, change.step) == ("warning", 50, 100)


def test_the_edge_of_stability_with_a_falling_loss_is_silent() -> None:
    assert judge("sharpness", _stream(1.3, -0.01)) == []


def test_far_above_the_limit_is_told_for_information() -> None:
    (change,) = judge("sharpness", _stream(3.0, -0.01))
    assert change.severity == "info"


def test_below_the_limit_a_rising_loss_is_not_its_finding() -> None:
    assert judge("sharpness", _stream(0.9, 0.01)) == []


def test_one_measurement_is_not_enough() -> None:
    stream = _stream(0.5, 0.01)
    stream[149] = frame(150, {"curvature.sharpness_over_limit": 9.0})
    assert judge("sharpness", stream) == []
