import numpy as np
import pytest

from app.alerts.engine import Engine
from app.alerts.model import FrameView
from tests.app.alerts.streams import context, frame, judge, only


def _losses(values: list[float] | np.ndarray) -> list[FrameView]:
    return [frame(step, {"loss.train": float(value)}) for step, value in enumerate(values, start=1)]


def _learning(steps: int, noise: float = 0.1, seed: int = 0, final: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (2.3 * np.exp(-np.arange(steps) / 60) + final) * np.exp(noise * rng.standard_normal(steps))


def test_a_loss_that_explodes_from_the_start_is_caught_within_a_few_steps() -> None:
    (change,) = judge("divergence", _losses([2.8, 62.0, 1.9e3, 3.6e6, 9e13, 8.7e23, 3.7e30, 2.5e10]))
    assert (change.step, change.onset_step, change.severity) == (6, 2, "critical")
    assert "from 2.8" in change.summary


def test_a_loss_that_becomes_nan_while_it_rises_counts_at_once_and_stays_open() -> None:
    changes = judge("divergence", _losses([2.3, 2.2, 90.0, 900.0] + [np.nan] * 200))
    assert [(c.change, c.step) for c in changes] == [("opened", 5)]
    assert "no longer a finite number" in changes[0].summary


def test_a_nan_without_a_rise_is_not_its_finding() -> None:
    assert judge("divergence", _losses([2.3, 2.2, np.nan, np.nan, np.nan])) == []


@pytest.mark.parametrize("seed", range(4))
def test_losing_half_of_what_was_learnt_is_divergence_even_far_below_the_start(seed: int) -> None:
    healthy = _learning(300, seed=seed)
    rising = 0.3 * np.exp(np.minimum(np.arange(200) / 25, 2.0))
    (change,) = judge("divergence", _losses(np.concatenate([healthy, rising])))
    assert change.change == "opened"
    assert 320 < change.step < 390


@pytest.mark.parametrize(("noise", "final"), [(0.05, 0.3), (0.5, 0.3), (1.0, 1e-3), (0.3, 2.0)])
@pytest.mark.parametrize("seed", range(4))
def test_noise_around_any_level_is_not_divergence(noise: float, final: float, seed: int) -> None:
    assert judge("divergence", _losses(_learning(1500, noise, seed, final))) == []


def test_a_plateau_that_never_learnt_is_not_divergence() -> None:
    rng = np.random.default_rng(1)
    assert judge("divergence", _losses(2.3 + 0.05 * rng.standard_normal(1000))) == []


def test_a_spike_of_four_steps_that_recovers_is_not_divergence() -> None:
    losses = _learning(300)
    losses[150:154] = [20.0, 40.0, 30.0, 15.0]
    assert judge("divergence", _losses(losses)) == []


def test_it_resolves_when_the_loss_is_back() -> None:
    losses = np.concatenate([_learning(100), [50.0] * 20, _learning(100, final=0.2)[40:]])
    assert [c.change for c in judge("divergence", _losses(losses))] == ["opened", "resolved"]


def test_a_resumed_run_is_measured_against_the_runs_first_losses() -> None:
    engine = Engine(only("divergence"), context(), None)
    engine.observe(_losses(_learning(400, final=1e-3)), attempt=1)
    again = [frame(step, {"loss.train": 5e-4 if step < 306 else 5e-3}) for step in range(301, 400)]
    assert engine.observe(again, attempt=2) == []
