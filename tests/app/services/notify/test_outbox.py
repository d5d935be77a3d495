"""What waits to be told: written with the alert, taken by one, tried again, summed up, given up, forgotten."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event

from app.services import alerting, ingest, runs
from app.services import channels as channel_service
from app.services.channel_view import ChannelPatch
from app.services.notify import outbox
from app.services.notify.courier import Courier
from app.services.notify.outbox import HOLD, MAX_A_MINUTE, MAX_AGE, MAX_TRIES, Outcome
from app.storage import channels as channel_repository
from app.storage.channel_tables import Delivery
from app.storage.database import Database, Session
from app.storage.tables import Run
from tests.app.alarmed import alerts_of, diverge, losses, trained
from tests.app.alerts.streams import MODULES
from tests.app.channeled import SETTINGS, channel, record, take, told
from tests.app.control import at
from tests.app.measured import NOW, Sender

AGAIN = Outcome(passed=False, again=True, status=503, error="it answers 503")
GONE = Outcome(passed=False, status=410, error="it answers 410")


@pytest.fixture
def database(sqlite_database: Database) -> Database:
    return sqlite_database


def fill(database: Database, channel_id: str, count: int, *, severity: str = "warning", second: float = 0) -> None:
    """So many messages of alerts wait."""

    def add(session: Session) -> None:
        for number in range(count):
            alert = {
                "id": f"a{number}", "run": "r", "title": "Loss diverges", "kind": "divergence", "severity": severity,
                "summary": "s",
            }  # fmt: skip
            message = {"event": "opened", "at": "now", "alert": alert, "run": {"id": "r", "name": f"run {number}"}}
            session.add(
                Delivery(
                    id=outbox.new_id(), channel_id=channel_id, alert_id=f"a{number}", run_id="r", event="opened",
                    severity=severity, message=message, state="waiting", tries=0, created_at=at(second),
                )
            )  # fmt: skip
            session.flush()

    database.write(add)


def test_an_alert_is_announced_in_the_transaction_that_opens_it_and_when_it_is_resolved(either: Database) -> None:
    made = channel(either, now=NOW)
    sender = trained(either)
    diverge(sender)
    (opened,) = told(either, made.id)
    (alert,) = alerts_of(either)
    assert (opened.event, opened.alert, opened.run, opened.state) == ("opened", alert.id, sender.run_id, "waiting")
    assert opened.created_at == NOW
    task = take(either, made.id, NOW)
    assert task is not None
    assert task.message["alert"] == alert.model_dump(mode="json"), "as the API shows it"
    assert task.message["run"]["name"] == "digits-mlp-1"
    either.write(lambda session: alerting.resolve(session, alert.id, "", NOW))
    assert [each.event for each in told(either, made.id)] == ["opened", "resolved"]


def test_what_is_not_committed_is_not_announced(database: Database) -> None:
    made = channel(database)
    sender = trained(database)

    def fail(session: Session) -> None:
        ingest.store_frames(session, sender.run_id, sender.batch([3], {"loss.train": np.array([np.nan])}), NOW)
        assert session.query(Delivery).count() == 1
        raise RuntimeError("the machine dies before the commit")

    with pytest.raises(RuntimeError, match="dies"):
        database.write(fail)
    assert told(database, made.id) == []
    assert alerts_of(database) == []


def test_a_batch_asks_for_channels_only_when_an_alert_changes(database: Database) -> None:
    channel(database)
    sender = trained(database)
    losses(sender, [1], [2.3])
    statements: list[str] = []
    listener = lambda *given: statements.append(given[2])  # noqa: E731
    engine = database._writer._engine  # type: ignore[union-attr]
    event.listen(engine, "before_cursor_execute", listener)
    try:
        losses(sender, range(2, 8), [2.3] * 6)
        assert statements
        assert not [text for text in statements if "channel" in text or "delivery" in text]
        losses(sender, [8], [np.nan])
    finally:
        event.remove(engine, "before_cursor_execute", listener)
    assert len([text for text in statements if "FROM channel" in text]) == 1


def test_who_is_told_what(either: Database) -> None:
    everything = channel(either)
    critical = channel(either, severity="critical")
    elsewhere = channel(either, projects=["elsewhere"])
    here = channel(either, projects=["elsewhere", "here"])
    rule = channel(either, rules=["non_finite"])
    other_rule = channel(either, rules=["loss_spike"])
    resolved = channel(either, events=["resolved"])
    off = channel(either, enabled=False)
    sender = trained(either, project="here")
    losses(sender, [1], [np.nan])
    losses(sender, range(2, 40), [2.3] * 38)
    heard = {
        each.id: [message.event for message in told(either, each.id)]
        for each in (everything, critical, elsewhere, here, rule, other_rule, resolved, off)
    }
    both = ["opened", "resolved"]
    assert heard == {
        everything.id: both, critical.id: both, elsewhere.id: [], here.id: both, rule.id: both, other_rule.id: [],
        resolved.id: ["resolved"], off.id: [],
    }  # fmt: skip


def test_an_alert_that_becomes_more_severe_is_told_to_those_who_want_to_know_of_openings(database: Database) -> None:
    everything, critical = channel(database), channel(database, severity="critical")
    resolved = channel(database, events=["resolved"])
    sender = trained(database, preset="digits-mlp")

    def rise(session: Session) -> None:
        run = session.get_one(Run, sender.run_id)
        for change, severity in (("opened", "warning"), ("updated", "warning"), ("updated", "critical")):
            told = alerting.AlertChange(
                change=change, rule="dead_units", kind="dead_units", severity=severity, step=3, onset_step=1,  # type: ignore[arg-type]
                summary="Dead.", names=(MODULES[0],),
            )  # fmt: skip
            alerting.apply(session, run, told, NOW)

    database.write(rise)
    assert [each.event for each in told(database, everything.id)] == ["opened", "worsened"]
    assert [each.event for each in told(database, critical.id)] == ["worsened"]
    assert told(database, resolved.id) == []


def test_a_muted_alert_is_not_told(database: Database) -> None:
    made = channel(database)
    diverge(trained(database))
    (alert,) = alerts_of(database)
    database.write(lambda session: alerting.mute(session, alert.id, "", NOW))
    database.write(lambda session: alerting.resolve(session, alert.id, "", NOW))
    assert [each.event for each in told(database, made.id)] == ["opened"]


def test_one_sender_holds_a_channel_and_others_get_nothing_until_it_lets_go(either: Database) -> None:
    made = channel(either)
    fill(either, made.id, 2)
    first = take(either, made.id, at(1))
    assert first is not None
    assert take(either, made.id, at(1.5)) is None
    assert take(either, made.id, at(60.9)) is None
    assert record(either, first, at(2)) == "sent"
    second = take(either, made.id, at(2))
    assert second is not None
    assert second.id != first.id
    record(either, second, at(3))
    assert take(either, made.id, at(3)) is None


def test_a_hundred_senders_at_once_get_each_message_once(either: Database) -> None:
    made = channel(either)
    fill(either, made.id, 5)
    with ThreadPoolExecutor(8) as pool:
        for second in range(5):
            moments = [at(second)] * 20
            tasks = [task for task in pool.map(lambda now: take(either, made.id, now), moments) if task]
            assert len(tasks) == 1
            record(either, tasks[0], at(second))
    assert [each.state for each in told(either, made.id)] == ["sent"] * 5
    assert [each.tries for each in told(either, made.id)] == [1] * 5


def test_a_sender_that_died_leaves_its_message_to_another_when_its_hold_runs_out(either: Database) -> None:
    made = channel(either)
    fill(either, made.id, 1)
    lost = take(either, made.id, at(0))
    assert take(either, made.id, at(0) + HOLD - timedelta(seconds=1)) is None
    again = take(either, made.id, at(0) + HOLD)
    assert lost is not None
    assert again is not None
    assert again.id == lost.id, "the receiver can tell that it is the same"
    # the first one was only slow: it may neither free the channel nor count twice
    assert record(either, lost, at(61)) == "sent"
    fill(either, made.id, 1, second=61)
    assert take(either, made.id, at(62)) is None
    record(either, again, at(63), GONE)
    assert [each.state for each in told(either, made.id)] == ["sent", "waiting"]


def test_what_fails_is_tried_again_ever_later_and_given_up_in_the_end(either: Database) -> None:
    made = channel(either)
    fill(either, made.id, 1)
    now, waits = at(0), []
    for number in range(1, MAX_TRIES + 1):
        task = take(either, made.id, now)
        assert task is not None
        state = record(either, task, now, AGAIN)
        assert state == ("failed" if number == MAX_TRIES else "waiting")
        assert told(either, made.id)[0].tries == number
        begun = now
        now = next_turn(either, made.id)
        assert number == MAX_TRIES or take(either, made.id, now - timedelta(seconds=0.001)) is None
        waits.append((now - begun).total_seconds())
    for number, wait in enumerate(waits[:-1]):
        expected = min(5.0 * 2**number, 600.0)
        assert 0.75 * expected <= wait <= 1.25 * expected
    (failed,) = told(either, made.id)
    assert (failed.state, failed.status, failed.error) == ("failed", 503, "it answers 503")
    assert take(either, made.id, now + timedelta(hours=1)) is None


def next_turn(database: Database, channel_id: str) -> datetime:
    with database.read() as session:
        row = channel_repository.get(session, channel_id)
        assert row is not None
        return row.next_at


def test_a_clock_that_is_set_back_does_not_hold_a_channel_for_long(either: Database) -> None:
    made = channel(either, now=at(86400))
    fill(either, made.id, 1)
    with either.read() as session:
        assert channel_repository.due(session, at(0)) == [made.id]
    assert take(either, made.id, at(0)) is not None


def test_a_clock_that_is_set_back_leaves_no_full_minute(database: Database) -> None:
    made = channel(database)
    fill(database, made.id, MAX_A_MINUTE - 1)
    for _ in range(MAX_A_MINUTE - 1):
        task = take(database, made.id, at(3600))
        assert task is not None
        record(database, task, at(3600))
    fill(database, made.id, 3)
    assert take(database, made.id, at(0)) is not None


def test_what_cannot_help_is_not_tried_again_and_the_next_one_is(database: Database) -> None:
    made = channel(database)
    fill(database, made.id, 2)
    task = take(database, made.id, at(0))
    assert task is not None
    assert record(database, task, at(0), GONE) == "failed"
    assert take(database, made.id, at(0)) is not None


def test_a_resolution_never_overtakes_its_opening(database: Database) -> None:
    made = channel(database, now=NOW)
    diverge(trained(database))
    (alert,) = alerts_of(database)
    database.write(lambda session: alerting.resolve(session, alert.id, "", NOW))
    task = take(database, made.id, NOW)
    assert task is not None
    record(database, task, NOW, AGAIN)
    assert take(database, made.id, NOW + timedelta(seconds=1)) is None
    again = take(database, made.id, NOW + timedelta(seconds=30))
    assert again is not None
    assert (again.id, again.message["event"]) == (task.id, "opened")


def test_a_receiver_that_asks_to_be_left_alone_is(database: Database) -> None:
    made = channel(database)
    fill(database, made.id, 1)
    task = take(database, made.id, at(0))
    assert task is not None
    record(database, task, at(0), Outcome(passed=False, again=True, status=429, retry_after=120.0))
    assert take(database, made.id, at(119)) is None
    task = take(database, made.id, at(120))
    assert task is not None
    record(database, task, at(120), Outcome(passed=False, again=True, status=429, retry_after=1e9))
    assert take(database, made.id, at(720)) is not None, "for ten minutes at most"


def test_a_flood_is_told_as_a_few_messages_and_one_that_sums_up_the_rest(either: Database) -> None:
    made = channel(either)
    fill(either, made.id, 20)
    fill(either, made.id, 6, severity="critical")
    sent = []
    for _ in range(40):
        task = take(either, made.id, at(1))
        if task is None:
            break
        sent.append(task.message)
        record(either, task, at(1))
    assert len(sent) == MAX_A_MINUTE
    assert [message["event"] for message in sent] == ["opened"] * (MAX_A_MINUTE - 1) + ["summary"]
    summary = sent[-1]
    assert summary["count"] == 26 - MAX_A_MINUTE + 1
    assert summary["counts"] == [
        {"event": "opened", "severity": "critical", "count": 6},
        {"event": "opened", "severity": "warning", "count": 11},
    ]
    assert [each["id"] for each in summary["alerts"]] == [f"a{number}" for number in range(9, 19)]
    states = [each.state for each in told(either, made.id)]
    assert states == ["sent"] * 9 + ["summed"] * 17 + ["sent"]
    fill(either, made.id, 3, second=30)
    assert take(either, made.id, at(59)) is None
    later = take(either, made.id, at(61.5))
    assert later is not None
    assert later.message["event"] == "opened", "the minute is over"


def test_a_flood_that_is_larger_than_what_is_kept_of_it_counts_too(
    either: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "KEPT", 5)
    made, sent = channel(either), 0
    for second in range(4):
        fill(either, made.id, 20, second=second)
        while (task := take(either, made.id, at(second))) is not None:
            record(either, task, at(second))
            sent += 1
    assert sent == MAX_A_MINUTE


@pytest.mark.postgresql
def test_what_is_written_while_others_are_summed_up_is_counted_or_waits(postgresql_database_url: str) -> None:
    database, other = Database(postgresql_database_url), Database(postgresql_database_url)
    made = channel(database)
    fill(database, made.id, MAX_A_MINUTE + 5)
    for _ in range(MAX_A_MINUTE - 1):
        task = take(database, made.id, at(0))
        assert task is not None
        record(database, task, at(0))

    def meanwhile(*given: Any) -> None:
        if "'summed'" in given[2] or "summed" in str(given[3]):
            fill(other, made.id, 1)

    event.listen(database._engine, "before_cursor_execute", meanwhile)
    try:
        summary = take(database, made.id, at(0))
    finally:
        event.remove(database._engine, "before_cursor_execute", meanwhile)
    assert summary is not None
    states = [each.state for each in told(database, made.id)]
    assert states.count("summed") == summary.message["count"]
    assert len(states) == MAX_A_MINUTE + 5 + 1 + 1
    for each in (database, other):
        each.close()


def test_a_summary_that_fails_is_tried_again_as_it_is(database: Database) -> None:
    made = channel(database)
    fill(database, made.id, 30)
    for _ in range(MAX_A_MINUTE - 1):
        task = take(database, made.id, at(0))
        assert task is not None
        record(database, task, at(0))
    summary = take(database, made.id, at(0))
    assert summary is not None
    record(database, summary, at(0), AGAIN)
    fill(database, made.id, 4, second=1)
    again = take(database, made.id, at(10))
    assert again is not None
    assert (again.id, again.message["count"]) == (summary.id, 21)


def test_news_of_yesterday_are_none(database: Database) -> None:
    made = channel(database)
    fill(database, made.id, 25)
    fill(database, made.id, 1, second=3600)
    task = take(database, made.id, at(1) + MAX_AGE)
    assert task is not None
    states = [each.state for each in told(database, made.id)]
    assert states == ["failed"] * 25 + ["waiting"]
    assert told(database, made.id)[0].error == "it has waited for more than 1 day"


def test_a_message_that_ends_every_process_that_sends_it_is_given_up(database: Database) -> None:
    made = channel(database)
    fill(database, made.id, 2)
    first = told(database, made.id)[0]
    for number in range(MAX_TRIES):
        task = take(database, made.id, at(61 * number))
        assert task is not None
        assert task.id == first.id
    following = take(database, made.id, at(61 * MAX_TRIES))
    assert following is not None
    assert following.id != first.id
    given_up = told(database, made.id)[0]
    assert (given_up.state, given_up.error) == ("failed", "10 tries ended without a result")


def test_a_channel_that_is_switched_on_again_waits_for_nothing(database: Database) -> None:
    made = channel(database)
    fill(database, made.id, 1)
    task = take(database, made.id, at(0))
    assert task is not None
    record(database, task, at(0), AGAIN)
    for enabled in (False, True):
        patch = ChannelPatch(enabled=enabled)
        change = channel_service.prepared_change(database, made.id, patch, Courier(SETTINGS))
        database.write(lambda session, change=change: change(session, at(1)))  # type: ignore[misc]
    fill(database, made.id, 1)
    assert take(database, made.id, at(1)) is not None


def test_what_was_sent_while_its_channel_was_switched_off_was_sent(database: Database) -> None:
    made = channel(database)
    fill(database, made.id, 2)
    task = take(database, made.id, at(0))
    assert task is not None
    change = channel_service.prepared_change(database, made.id, ChannelPatch(enabled=False), Courier(SETTINGS))
    database.write(lambda session: change(session, at(1)))
    record(database, task, at(2))
    assert [each.state for each in told(database, made.id)] == ["sent", "failed"]


def test_what_was_told_is_kept_for_a_while(either: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "KEPT", 3)
    made, other = channel(either), channel(either)
    fill(either, other.id, 5)
    fill(either, made.id, 9)
    ids = [each.id for each in told(either, made.id)]
    for number in range(6):
        task = take(either, made.id, at(61 * number))
        assert task is not None
        record(either, task, at(61 * number))
    assert [each.id for each in told(either, made.id)] == ids[3:]
    assert [each.state for each in told(either, made.id)] == ["sent"] * 3 + ["waiting"] * 3
    assert len(told(either, other.id)) == 5


def test_a_channel_that_is_switched_off_gives_up_what_waits(database: Database) -> None:
    made = channel(database)
    fill(database, made.id, 2)
    change = channel_service.prepared_change(database, made.id, ChannelPatch(enabled=False), Courier(SETTINGS))
    assert database.write(lambda session: change(session, at(1))).waiting == 0
    assert take(database, made.id, at(2)) is None
    assert {(each.state, each.error) for each in told(database, made.id)} == {
        ("failed", "the channel was switched off before it was sent")
    }


def test_a_channel_that_is_deleted_while_something_is_sent_takes_everything_with_it(either: Database) -> None:
    made = channel(either)
    fill(either, made.id, 2)
    task = take(either, made.id, at(0))
    assert task is not None
    either.write(lambda session: channel_service.delete(session, made.id))
    record(either, task, at(1))
    fill(either, made.id, 1)  # by a batch that had read the channel before
    either.write(channel_repository.forget_strays)
    with either.read() as session:
        assert channel_repository.newest(session, made.id, before=None, limit=9) == []


def test_a_deleted_run_s_messages_are_still_sent(database: Database) -> None:
    made = channel(database, now=NOW)
    sender: Sender = trained(database)
    diverge(sender)
    database.write(lambda session: setattr(session.get_one(Run, sender.run_id), "state", "stopped"))
    database.write(lambda session: runs.delete(session, sender.run_id))
    assert take(database, made.id, NOW) is not None
