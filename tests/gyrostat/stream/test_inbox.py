import threading
import time

from gyrostat.stream.batching import size_of
from gyrostat.stream.inbox import MAX_FRAMES, MAX_POINTS, Flush, Happening, Inbox
from gyrostat.stream.ledger import Count
from tests.gyrostat.stream.frames import frame, layout


def test_things_come_out_in_the_order_they_went_in() -> None:
    inbox = Inbox()
    things = [layout(), frame(1), Flush(), frame(2)]
    for thing in things:
        assert inbox.put(thing) is None
    assert [inbox.take(0) for _ in things] == things
    assert inbox.take(0.01) is None


def test_a_full_inbox_refuses_frames_and_takes_everything_else() -> None:
    inbox = Inbox()
    for step in range(MAX_FRAMES):
        assert inbox.put(frame(1), Count(1, 1)) is None, step
    assert inbox.put(frame(2), Count(1, 1)) == "queue_full"
    assert inbox.put(layout()) is None
    inbox.take(0)
    assert inbox.put(frame(2), Count(1, 1)) is None


def test_a_few_huge_frames_fill_it_as_well_but_one_always_fits() -> None:
    inbox = Inbox()
    assert inbox.put(frame(1), Count(1, 2 * MAX_POINTS)) is None
    assert inbox.put(frame(2), size_of(frame(2))) == "queue_full"


def test_events_that_are_next_are_taken_together() -> None:
    inbox = Inbox()
    events = [Happening("log", 1.0, step, {}) for step in range(5)]
    for thing in [*events, frame(1), events[0]]:
        inbox.put(thing)
    assert inbox.take_happenings(3) == events[:3]
    assert inbox.take_happenings(9) == events[3:]
    assert inbox.take_happenings(9) == []


def test_closing_wakes_who_waits_and_leaves_what_is_there() -> None:
    inbox = Inbox()
    threading.Timer(0.05, inbox.close).start()
    started = time.monotonic()
    assert inbox.take(None) is None
    assert time.monotonic() - started < 5
    assert inbox.is_drained
    assert inbox.put(frame(1)) == "closed"

    inbox = Inbox()
    inbox.put(layout())
    inbox.close()
    assert not inbox.is_drained
    assert inbox.take(None) == layout()
    assert inbox.is_drained
