import pytest

from gyrostat.spec.schedules import Constant, Cosine, LinearWarmup
from trainer.stabilizers.schedules import factor


def test_constant_is_one_throughout():
    assert [factor(Constant(), step, 10) for step in (0, 5, 9, 10)] == [1, 1, 1, 1]


def test_cosine_falls_from_one_over_one_half_in_the_middle_to_its_end():
    assert [factor(Cosine(), step, 100) for step in (0, 50, 100)] == pytest.approx([1, 0.5, 0])
    assert factor(Cosine(), 25, 100) == pytest.approx((1 + 2**-0.5) / 2)
    assert 0 < factor(Cosine(), 99, 100) < 1e-3


def test_cosine_ends_at_its_final_factor_and_stays_there():
    settings = Cosine(final_factor=0.1)
    assert [factor(settings, step, 100) for step in (0, 50, 100, 1000)] == pytest.approx([1, 0.55, 0.1, 0.1])


@pytest.mark.parametrize("start", [0.0, 0.2])
def test_warmup_rises_linearly_to_one(start):
    settings = Constant(warmup=LinearWarmup(steps=4, start_factor=start))
    expected = [start + (1 - start) * part for part in (0, 0.25, 0.5, 0.75, 1, 1)]
    assert [factor(settings, step, 10) for step in range(6)] == pytest.approx(expected)


def test_the_schedule_proper_is_counted_from_the_end_of_warmup():
    settings = Cosine(warmup=LinearWarmup(steps=20))
    assert [factor(settings, step, 120) for step in (10, 20, 70, 120)] == pytest.approx([0.5, 1, 0.5, 0])
    for step in range(100):
        assert factor(settings, 20 + step, 120) == factor(Cosine(), step, 100)


def test_a_run_of_one_step_has_the_full_rate():
    assert factor(Cosine(), 0, 1) == 1
