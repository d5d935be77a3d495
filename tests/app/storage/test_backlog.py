import pytest

from app.errors import TooMany
from app.storage.backlog import RETRY_SECONDS, Backlog


def test_what_is_held_is_counted_until_it_is_let_go() -> None:
    backlog = Backlog(max_batches=2, max_bytes=100)
    with backlog.held(60):
        with backlog.held(40):
            assert backlog.waiting == (2, 100)
        assert backlog.waiting == (1, 60)
    assert backlog.waiting == (0, 0)


def test_too_many_and_too_large_are_told_to_come_back_and_take_no_room() -> None:
    backlog = Backlog(max_batches=2, max_bytes=100)
    with backlog.held(60):
        with pytest.raises(TooMany, match="1 batches of 60 bytes wait") as refusal, backlog.held(41):
            raise AssertionError("there was room")
        assert refusal.value.retry_after == RETRY_SECONDS
        with backlog.held(1), pytest.raises(TooMany), backlog.held(1):
            raise AssertionError("there was room")
        assert backlog.waiting == (1, 60)


def test_a_batch_above_the_bound_is_taken_when_nothing_else_waits() -> None:
    backlog = Backlog(max_batches=2, max_bytes=10)
    with backlog.held(1000):
        assert backlog.waiting == (1, 1000)


def test_a_failure_lets_go_of_the_room() -> None:
    backlog = Backlog()
    with pytest.raises(ZeroDivisionError), backlog.held(5):
        raise ZeroDivisionError
    assert backlog.waiting == (0, 0)
