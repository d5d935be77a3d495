import numpy as np
import pytest

from app.alerts.model import FrameView
from tests.app.alerts.streams import frame, judge


def _losses(values: np.ndarray) -> list[FrameView]:
    return [frame(step, {"loss.train": float(value)}) for step, value in enumerate(values, start=1)]


def _learning(steps: int = 400, noise: float = 0.05, seed: int = 0, final: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (3.0 * np.exp(-np.arange(steps) / 60) + final) * np.exp(noise * rng.standard_normal(steps))


def test_an_isolated_spike_is_told_for_information_with_its_step_and_resolves() -> None:
    losses = _learning()
    losses[250] = 3.0
    opened, resolved = judge("loss_spike", _losses(losses))
    assert (opened.change, opened.severity, opened.onset_step) == ("opened", "info", 251)
    assert (resolved.change, resolved.step) == ("resolved", 301)


def test_one_that_does_not_recover_within_ten_steps_becomes_a_warning() -> None:
    losses = _learning()
    losses[250:290] = 3.0
    changes = judge("loss_spike", _losses(losses))
    assert [(c.change, c.severity, c.step) for c in changes[:2]] == [
        ("opened", "info", 251),
        ("updated", "warning", 261),
    ]
    assert "has not come back" in changes[1].summary


@pytest.mark.parametrize(("noise", "final"), [(0.02, 1.0), (0.3, 1.0), (1.2, 1e-4)])
@pytest.mark.parametrize("seed", range(4))
def test_the_noise_of_a_healthy_loss_is_no_spike(noise: float, final: float, seed: int) -> None:
    assert judge("loss_spike", _losses(_learning(2000, noise, seed, final))) == []


def test_a_spike_does_not_hide_the_next_one() -> None:
    losses = _learning()
    losses[200:205] = 50.0
    losses[300] = 3.0
    changes = judge("loss_spike", _losses(losses))
    assert [c.change for c in changes] == ["opened", "resolved", "opened", "resolved"]


def test_a_nan_does_not_hide_the_next_spike() -> None:
    losses = _learning()
    losses[200:205] = np.nan
    losses[300] = 3.0
    assert [c.onset_step for c in judge("loss_spike", _losses(losses))] == [301, 301]


def test_a_new_level_becomes_the_baseline_in_the_end() -> None:
    losses = np.concatenate([_learning(), 3.0 + 0.05 * np.random.default_rng(0).standard_normal(400)])
    assert [c.change for c in judge("loss_spike", _losses(losses))] == ["opened", "updated", "resolved"]


def test_a_jump_that_is_small_against_all_that_was_learnt_is_no_spike() -> None:
    losses = _learning(800, noise=0.001)
    losses[700] += 0.1
    assert judge("loss_spike", _losses(losses)) == []
    assert judge("loss_spike", _losses(losses), rise=0.01) != []
