import time

import pytest

from gyrostat.probes.stopwatch import Stopwatch


def test_time_inside_and_outside_is_told_apart_and_nesting_counts_once() -> None:
    watch = Stopwatch()
    with watch:
        assert watch.lap() is None
        time.sleep(0.02)
        with watch:
            time.sleep(0.02)
    time.sleep(0.03)
    with watch:
        lap = watch.lap()
        assert lap is not None
        assert 0.04 <= lap.inside < 0.2
        assert 0.03 <= lap.outside < 0.2


def test_the_share_is_that_since_the_last_question() -> None:
    watch = Stopwatch()
    with watch:
        time.sleep(0.02)
    time.sleep(0.02)
    with watch:
        assert 0.2 < watch.share() < 0.8
    watch.share()
    time.sleep(0.02)
    assert watch.share() == pytest.approx(0, abs=0.01)


def test_before_anything_was_timed_the_share_is_zero() -> None:
    assert Stopwatch().share() == 0


def test_time_while_it_is_stopped_is_neither_inside_nor_outside() -> None:
    watch = Stopwatch()
    with watch.stopped():  # before anything was timed
        pass
    with watch:
        watch.lap()
        time.sleep(0.02)
    with watch.stopped():
        time.sleep(0.3)
    with watch:
        lap = watch.lap()
    assert lap is not None
    assert 0.02 <= lap.inside < 0.2
    assert lap.outside < 0.2
    assert watch.share() > 0.4
