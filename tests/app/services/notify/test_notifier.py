"""The threads that send: each message once, whoever looks, and whatever fails on the way."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

from app.errors import Unavailable
from app.services.notify import notifier as notifier_module
from app.services.notify.messages import of_test
from app.services.notify.notifier import Notifier
from app.services.notify.outbox import MAX_A_MINUTE, Outcome, Task
from app.services.notify.targets import WebhookTarget
from app.services.telemetry import Telemetry
from app.storage.database import Database
from tests.app.channeled import Noting, channel, take, told
from tests.app.control import START, at
from tests.app.services.notify.test_outbox import fill
from tests.end_to_end.service import eventually


def fixed(now: datetime = START) -> Callable[[], datetime]:
    return lambda: now


def send_all(notifier: Notifier) -> None:
    for thread in notifier.send_due():
        thread.join(20)
        assert not thread.is_alive()


def test_what_waits_is_sent_in_order_and_counted(either: Database) -> None:
    one, two = channel(either), channel(either)
    fill(either, one.id, 3)
    fill(either, two.id, 2)
    courier, telemetry = Noting(), Telemetry()
    notifier = Notifier(either, courier, telemetry, fixed())
    send_all(notifier)
    assert [task.id for task in courier.tasks if task.channel == one.id] == [each.id for each in told(either, one.id)]
    assert len(courier.tasks) == 5
    send_all(notifier)
    assert len(courier.tasks) == 5
    assert (
        telemetry.registry.get_sample_value("gyrostat_notifications_total", {"kind": "webhook", "outcome": "sent"}) == 5
    )
    assert telemetry.registry.get_sample_value("gyrostat_notification_seconds_count", {"kind": "webhook"}) == 5


@pytest.mark.postgresql
def test_several_services_on_one_database_send_each_message_once(postgresql_database_url: str) -> None:
    databases = [Database(postgresql_database_url) for _ in range(3)]
    channels = [channel(databases[0]).id for _ in range(4)]
    for each in channels:
        fill(databases[0], each, MAX_A_MINUTE - 1)
    couriers = [Noting(lambda task: (time.sleep(0.002), Outcome(passed=True))[1]) for _ in databases]
    notifiers = [
        Notifier(database, courier, Telemetry(), fixed(), look_seconds=0.01)
        for database, courier in zip(databases, couriers, strict=True)
    ]
    for notifier in notifiers:
        notifier.start()
    expected = len(channels) * (MAX_A_MINUTE - 1)
    eventually(lambda: sum(len(courier.tasks) for courier in couriers) >= expected, within=60)
    for notifier in notifiers:
        notifier.stop()
    sent = [task.id for courier in couriers for task in courier.tasks]
    assert len(sent) == len(set(sent)) == expected
    for each in channels:
        assert [(row.state, row.tries) for row in told(databases[0], each)] == [("sent", 1)] * (MAX_A_MINUTE - 1)
    for database in databases:
        database.close()


def test_a_defect_is_a_failed_try_and_keeps_no_other_channel_waiting(sqlite_database: Database) -> None:
    bad, good = channel(sqlite_database).id, channel(sqlite_database).id
    fill(sqlite_database, bad, 2)
    fill(sqlite_database, good, 2)

    def answer(task: Task) -> Outcome:
        if task.channel == bad:
            raise ZeroDivisionError("a defect of ours")
        return Outcome(passed=True, status=204)

    notifier = Notifier(sqlite_database, Noting(answer), Telemetry(), fixed())
    send_all(notifier)
    assert [each.state for each in told(sqlite_database, good)] == ["sent", "sent"]
    assert [(each.state, each.tries) for each in told(sqlite_database, bad)] == [("waiting", 1), ("waiting", 0)]
    assert told(sqlite_database, bad)[0].error == "something unexpected went wrong; the log has it"
    assert take(sqlite_database, bad, at(3)) is None
    assert take(sqlite_database, bad, at(7)) is not None


def test_a_channel_that_got_no_thread_gets_one_at_the_next_look(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = channel(sqlite_database).id
    fill(sqlite_database, made, 1)
    notifier = Notifier(sqlite_database, Noting(), Telemetry(), fixed())

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError, match="new thread"):
            notifier.send_due()
    send_all(notifier)
    assert [each.state for each in told(sqlite_database, made)] == ["sent"]


def test_what_another_process_held_of_a_file_is_free_at_the_next_start(sqlite_database: Database) -> None:
    made = channel(sqlite_database).id
    fill(sqlite_database, made, 1)
    lost = take(sqlite_database, made, START)
    courier = Noting()
    notifier = Notifier(sqlite_database, courier, Telemetry(), fixed(at(1)), look_seconds=0.01)
    notifier.start()
    eventually(lambda: courier.tasks, within=20)
    notifier.stop()
    assert lost is not None
    assert courier.tasks[0].id == lost.id


def test_a_database_that_is_away_is_asked_again(sqlite_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier_module, "FAILURE_SECONDS", 0.01)
    made = channel(sqlite_database).id
    fill(sqlite_database, made, 1)
    courier, real, failures = Noting(), sqlite_database.read, [Unavailable("away")] * 3

    def read() -> object:
        if failures:
            raise failures.pop()
        return real()

    monkeypatch.setattr(sqlite_database, "read", read)
    notifier = Notifier(sqlite_database, courier, Telemetry(), fixed(), look_seconds=0.01)
    notifier.start()
    eventually(lambda: courier.tasks, within=20)
    notifier.stop()
    assert failures == []


def test_who_waits_for_what_is_sent_now_hears_of_the_end(sqlite_database: Database) -> None:
    free = threading.Event()
    courier = Noting(lambda task: (free.wait(20), Outcome(passed=True))[1])
    notifier = Notifier(sqlite_database, courier, Telemetry(), fixed())
    task = Task(id="d", channel="c", target=WebhookTarget(url="https://x.example"), message=of_test("c", START))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(notifier.send_now, task)
        eventually(lambda: courier.tasks, within=10, every=0.01)
        notifier.close()
        with pytest.raises(Unavailable, match="ends"):
            waiting.result(5)
    free.set()


def test_the_end_waits_for_what_is_being_sent(sqlite_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier_module, "STOP_SECONDS", 60.0)
    made = channel(sqlite_database).id
    fill(sqlite_database, made, 3)
    courier = Noting(lambda task: (time.sleep(0.3), Outcome(passed=True))[1])
    notifier = Notifier(sqlite_database, courier, Telemetry(), fixed(), look_seconds=0.01)
    notifier.start()
    eventually(lambda: courier.tasks, within=20, every=0.01)
    notifier.stop()
    states = [each.state for each in told(sqlite_database, made)]
    assert states == ["sent"] * len(courier.tasks) + ["waiting"] * (3 - len(courier.tasks))
    assert len(courier.tasks) < 3, "nothing is begun any more"


def test_the_end_does_not_wait_for_long(sqlite_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier_module, "STOP_SECONDS", 0.1)
    made, free = channel(sqlite_database).id, threading.Event()
    fill(sqlite_database, made, 2)
    courier = Noting(lambda task: (free.wait(60), Outcome(passed=True))[1])
    notifier = Notifier(sqlite_database, courier, Telemetry(), fixed(), look_seconds=0.01)
    notifier.start()
    eventually(lambda: courier.tasks, within=20, every=0.01)
    began = time.monotonic()
    notifier.stop()
    assert time.monotonic() - began < 10
    assert [each.state for each in told(sqlite_database, made)] == ["waiting", "waiting"]
    free.set()
    eventually(lambda: told(sqlite_database, made)[0].state == "sent", within=20)
    assert len(courier.tasks) == 1
