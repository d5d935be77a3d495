import pytest
import torch

from gyrostat.probes.warmstart import WarmStarts, random_vector

LIKE = torch.zeros((), dtype=torch.float64)


def test_random_vectors_are_unit_repeatable_and_take_nothing_from_the_global_generator() -> None:
    before = torch.get_rng_state()
    first, again, other = random_vector(50, LIKE), random_vector(50, LIKE), random_vector(50, LIKE, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    assert first.norm().item() == pytest.approx(1)
    assert torch.equal(first, again)
    assert abs(torch.dot(first, other).item()) < 0.5
    assert first.dtype == torch.float64


def test_starts_are_warm_but_for_the_first_and_every_fifth_and_carry_a_random_part() -> None:
    starts = WarmStarts(fresh=0.1, cold_every=5)
    last = random_vector(1000, LIKE, seed=99)
    warm = []
    for _ in range(11):
        vector, is_warm = starts.start("a", 1000, LIKE)
        warm.append(is_warm)
        if is_warm:
            assert 0.05 < (vector - last).norm() < 0.15
        starts.keep("a", last)
    assert warm == [False, True, True, True, True] * 2 + [False]


def test_a_lost_or_ill_fitting_vector_makes_a_cold_start() -> None:
    starts = WarmStarts(fresh=0.1, cold_every=5)
    starts.start("a", 10, LIKE)
    starts.keep("a", None)
    assert not starts.start("a", 10, LIKE)[1]
    starts.keep("a", random_vector(10, LIKE))
    assert not starts.start("a", 12, LIKE)[1]
    assert starts.start("b", 12, LIKE)[0].shape == (12,)


def test_state_goes_round() -> None:
    starts, other = WarmStarts(fresh=0.1, cold_every=5), WarmStarts(fresh=0.1, cold_every=5)
    starts.start("a", 10, LIKE)
    starts.keep("a", random_vector(10, LIKE, seed=3))
    other.load_state_dict(starts.state_dict())
    assert torch.equal(starts.start("a", 10, LIKE)[0], other.start("a", 10, LIKE)[0])
