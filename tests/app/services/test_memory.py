"""Many viewers of one run cost as much as one, and none sees what is old."""

import threading

import pytest

from app.services.memory import Memory


def test_the_same_version_is_made_once_and_a_new_one_anew():
    memory, made = Memory(), []

    def make() -> bytes:
        made.append(None)
        return b"%d" % len(made)

    assert [memory.get("a", 1, make), memory.get("a", 1, make), memory.get("a", 2, make), memory.get("b", 2, make)] == [
        b"1", b"1", b"2", b"3",
    ]  # fmt: skip


def test_viewers_that_ask_at_once_wait_for_one_answer():
    memory, made, begun, go = Memory(), [], threading.Event(), threading.Event()

    def make() -> bytes:
        made.append(None)
        begun.set()
        assert go.wait(5)
        return b"x"

    answers = []
    viewers = [threading.Thread(target=lambda: answers.append(memory.get("a", 1, make))) for _ in range(20)]
    viewers[0].start()
    assert begun.wait(5)
    for viewer in viewers[1:]:
        viewer.start()
    go.set()
    for viewer in viewers:
        viewer.join(5)
    assert (answers, len(made)) == ([b"x"] * 20, 1)


def test_a_failure_is_not_remembered():
    memory = Memory()

    def fail() -> bytes:
        raise RuntimeError("once")

    with pytest.raises(RuntimeError, match="once"):
        memory.get("a", 1, fail)
    assert not memory._making
    assert memory.get("a", 1, lambda: b"fine") == b"fine"


def test_memory_is_bounded_and_forgets_what_was_not_asked_for_longest():
    memory = Memory(max_bytes=10)
    for key in "abc":
        memory.get(key, 1, lambda: b"1234")
    assert memory.get("c", 1, lambda: b"again") == b"1234"
    assert memory.get("a", 1, lambda: b"again") == b"again"
    assert memory.get("huge", 1, lambda: b"x" * 100) == b"x" * 100


def test_what_is_at_hand_is_that_of_the_version() -> None:
    memory = Memory()
    assert memory.at_hand("a", 1) is None
    memory.get("a", 1, lambda: b"x")
    assert (memory.at_hand("a", 1), memory.at_hand("a", 2), memory.at_hand("b", 1)) == (b"x", None, None)
