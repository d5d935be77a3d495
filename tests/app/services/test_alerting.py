"""Alerts in the database: opened with the frames that show them, seen, resolved and muted by people."""

import numpy as np
import pytest

from app.alerts.base import DETECTORS
from app.errors import Conflict, Invalid, NotFound
from app.services import alerting
from app.storage import events as event_repository
from app.storage import frames as frame_repository
from app.storage import runs as run_repository
from app.storage.database import Database, Session
from app.storage.tables import Run
from gyrostat.spec.parse import parse
from gyrostat.spec.presets import PRESETS
from gyrostat.wire.values import ABSENT
from tests.app.alarmed import alert, alerts_of, diverge, layout, losses, trained
from tests.app.alerts.streams import MODULES, PARAMETERS
from tests.app.control import at, get, start
from tests.app.measured import NOW, Sender


@pytest.fixture
def database(sqlite_database: Database) -> Database:
    """Where the kind of database makes no difference."""
    return sqlite_database


def test_frames_open_update_and_resolve_an_alert_in_their_own_transaction(either: Database) -> None:
    sender = trained(either)
    broken = np.ones((1, len(MODULES)))
    broken[0, 5] = np.nan
    assert sender.frames([10], {"loss.train": np.array([np.nan])}).tighten
    (found,) = alerts_of(either, run=sender.run_id)
    assert (found.kind, found.severity, found.state, found.names) == ("non_finite", "critical", "open", [])
    assert np.isnan(found.evidence[0].value)
    assert found.model_dump(mode="json")["evidence"][0]["value"] == "NaN"
    sender.frames([11], {"activation.rms": broken})
    assert alerts_of(either)[0].names == [MODULES[5]]
    losses(sender, range(12, 40), [2.3] * 28)
    (found,) = alerts_of(either)
    assert (found.id, found.state, found.resolved_step, found.last_step) == (found.id, "resolved", 31, 31)
    assert [change.kind for change in alert(either, found.id).changes] == ["opened", "updated", "resolved"]


def test_a_repeated_batch_judges_nothing_twice(either: Database) -> None:
    sender = trained(either)
    batch = sender.batch([1], {"loss.train": np.array([np.inf])})
    for _ in range(3):
        sender.send(batch)
    (found,) = alerts_of(either)
    assert len(alert(either, found.id).changes) == 1


def test_memory_goes_on_between_batches_and_over_a_restart_of_the_backend(database_url: str) -> None:
    first = Database(database_url)
    sender = trained(first)
    losses(sender, range(1, 11), [2.3] * 10)
    losses(sender, range(11, 14), [90.0] * 3)
    first.close()
    second = Database(database_url)
    sender.database = second
    assert alerts_of(second) == []
    losses(sender, range(14, 17), [90.0] * 3)
    (found,) = alerts_of(second)
    assert (found.kind, found.onset_step, found.opened_step) == ("divergence", 11, 15)
    second.close()


def test_an_alert_is_an_event_a_count_and_has_remedies(database: Database) -> None:
    sender = trained(database, preset="sick-large-rate")
    diverge(sender)
    (found,) = alerts_of(database, run=sender.run_id, severity="critical")
    assert found.remedies[0].control == {"learning_rate_factor": 0.1}
    assert get(database, sender.run_id).alerts == {"critical": 1}
    with database.read() as session:
        assert alerting.num_open(session) == 1


def test_what_an_operator_or_a_spec_switches_off_stays_silent(database: Database) -> None:
    rules = {"divergence": {"enabled": False}, "non_finite": {"severity": "info"}}
    sender = trained(database, patch={"rules": rules})
    diverge(sender)
    losses(sender, [30], [np.nan])
    assert [(found.kind, found.severity) for found in alerts_of(database)] == [("non_finite", "info")]


def test_frames_of_an_older_attempt_are_kept_and_not_judged(database: Database) -> None:
    sender = trained(database)

    def take_over(session: Session) -> None:
        row = run_repository.locked(session, sender.run_id)
        assert row is not None
        row.attempt = 2

    database.write(take_over)
    losses(sender, [5], [np.nan])
    assert alerts_of(database) == []


def test_a_frame_that_comes_late_does_not_disturb_the_baselines(database: Database) -> None:
    sender = trained(database)
    late = sender.batch([1, 2, 3], {"loss.train": np.array([2.3, np.nan, 2.3])})
    losses(sender, range(4, 10), [2.3] * 6)
    sender.send(late)
    assert alerts_of(database) == []


@pytest.mark.parametrize("attached", [False, True])
def test_recalled_frames_are_not_judged_and_leave_the_detectors_as_they_were(
    database: Database, attached: bool
) -> None:
    if attached:
        sender = Sender(database, start(database, attached=True, preset=None).id)
        sender.layout(layout())
    else:
        sender = trained(database)
    losses(sender, range(1, 40), [2.3] * 39)
    with database.read() as session:
        before = frame_repository.detector_state(session, sender.run_id)
    sender.recalled(range(10, 30), {"gradient.norm": np.full((20, len(PARAMETERS)), np.nan)})
    with database.read() as session:
        assert frame_repository.detector_state(session, sender.run_id) == before
        assert session.get_one(Run, sender.run_id).step == 39
    assert alerts_of(database) == []


def test_an_attached_program_may_begin_again_within_its_one_attempt(database: Database) -> None:
    run = start(database, attached=True, preset=None).id
    sender = Sender(database, run)
    sender.layout(layout())
    diverge(sender)
    losses(sender, [1], [np.nan])
    assert {found.kind for found in alerts_of(database)} == {"divergence", "non_finite"}
    assert alerts_of(database)[0].remedies == []


def test_what_was_not_measured_and_columns_with_gaps_are_judged_as_such(database: Database) -> None:
    sender = trained(database)
    values = np.full((3, len(PARAMETERS)), ABSENT)
    sender.frames([1, 2, 3], {"gradient.norm": values, "loss.train": np.ones(3)})
    assert alerts_of(database) == []


def test_acknowledging_is_idempotent_and_impossible_once_resolved(either: Database) -> None:
    diverge(trained(either))
    (found,) = alerts_of(either)
    for _ in range(2):
        seen = either.write(lambda session: alerting.acknowledge(session, found.id, "looking", at(60)))
    assert (seen.state, seen.acknowledged_at) == ("acknowledged", at(60))
    assert [(change.kind, change.note) for change in seen.changes][1:] == [("acknowledged", "looking")]
    either.write(lambda session: alerting.resolve(session, found.id, "", at(70)))
    with pytest.raises(Conflict, match="resolved already"):
        either.write(lambda session: alerting.acknowledge(session, found.id, "", at(80)))
    with pytest.raises(NotFound, match="no alert 'nope'"):
        either.write(lambda session: alerting.acknowledge(session, "nope", "", at(80)))


def test_an_acknowledged_alert_still_resolves_by_itself(database: Database) -> None:
    sender = trained(database)
    diverge(sender)
    (found,) = alerts_of(database)
    database.write(lambda session: alerting.acknowledge(session, found.id, "", at(60)))
    losses(sender, range(21, 100), [2.2] * 79)
    assert alert(database, found.id).state == "resolved"


def test_what_was_resolved_by_hand_is_opened_anew_when_it_goes_on(either: Database) -> None:
    sender = trained(either)
    diverge(sender)
    (found,) = alerts_of(either)
    closed = either.write(lambda session: alerting.resolve(session, found.id, "let it be", at(60)))
    assert (closed.state, closed.resolved_at, closed.changes[-1].note) == ("resolved", at(60), "let it be")
    losses(sender, [21], [90.0])
    (newest,) = alerts_of(either, state="open")
    (old,) = alerts_of(either, state="resolved")
    assert (newest.opened_step, old.id) == (21, found.id)


def test_a_muted_alert_is_kept_but_not_counted(either: Database) -> None:
    sender = trained(either)
    diverge(sender)
    (found,) = alerts_of(either)
    assert either.write(lambda session: alerting.mute(session, found.id, "known", at(60))).muted
    assert get(either, sender.run_id).alerts == {}
    shown = either.write(lambda session: alerting.mute(session, found.id, "", at(61), muted=False))
    assert not shown.muted
    assert [change.kind for change in shown.changes] == ["opened", "muted", "unmuted"]


def test_alerts_are_listed_newest_first_page_by_page_and_filtered(either: Database) -> None:
    sender = trained(either)
    for number in range(5):
        losses(sender, [100 * number + 1], [np.nan])
        losses(sender, range(100 * number + 2, 100 * number + 40), [2.3] * 38)
    seen, cursor = [], None
    for _ in range(3):
        with either.read() as session:
            page = alerting.list_alerts(session, run=sender.run_id, cursor=cursor, limit=2)
        seen += [found.id for found in page.items]
        cursor = page.next
    assert cursor is None
    assert len(set(seen)) == 5
    assert alerts_of(either, state="open") == []
    assert alerts_of(either, run="other") == []
    assert len(alerts_of(either, state=["resolved", "open"], kind="non_finite")) == 5
    with either.read() as session, pytest.raises(Invalid, match="cursor"):
        alerting.list_alerts(session, cursor="bm90IGpzb24=")


def test_an_outside_alert_is_raised_once_and_resolved(database: Database) -> None:
    run = trained(database).run_id

    def raise_it(session: Session) -> None:
        row = session.get_one(Run, run)
        alerting.raise_external(session, row, "worker_lost", "Silent for 9 s.", None, NOW)

    database.write(raise_it)
    database.write(raise_it)
    (found,) = alerts_of(database)
    assert (found.kind, found.summary, found.remedies) == ("worker_lost", "Silent for 9 s.", [])
    for _ in range(2):
        database.write(
            lambda session: alerting.resolve_external(session, session.get_one(Run, run), "worker_lost", "back", NOW)
        )
    assert [change.note for change in alert(database, found.id).changes] == ["Silent for 9 s.", "back"]


def test_overrides_of_a_spec_are_checked_before_it_runs() -> None:
    document = PRESETS["digits-mlp"].document
    assert alerting.check_overrides(parse({**document, "rules": {"loss_spike": {"enabled": False}}}).spec) == []
    (problem,) = alerting.check_overrides(parse({**document, "rules": {"los_spike": {}}}).spec)
    assert (problem.path, "did you mean 'loss_spike'" in problem.mend) == ("rules.los_spike", True)


def test_the_detectors_state_is_stored_with_the_frames_or_not_at_all(database: Database) -> None:
    sender = trained(database)
    losses(sender, [1, 2], [2.3, 2.3])
    with database.read() as session:
        before = frame_repository.detector_state(session, sender.run_id)

    def fail(session: Session) -> None:
        from app.services import ingest

        ingest.store_frames(session, sender.run_id, sender.batch([3], {"loss.train": np.array([np.nan])}), NOW)
        raise RuntimeError("the machine dies before the commit")

    with pytest.raises(RuntimeError, match="dies"):
        database.write(fail)
    with database.read() as session:
        assert frame_repository.detector_state(session, sender.run_id) == before
    assert alerts_of(database) == []


def test_a_rule_that_raises_does_not_stop_ingest_and_is_written_down_once(
    either: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("nothing to divide by")

    monkeypatch.setattr(DETECTORS["divergence"], "observe", broken)
    sender = trained(either)
    losses(sender, [1, 2], [1.0, 1.0])
    losses(sender, [3, 4], [1.0, np.nan])
    with either.read() as session:
        told = [event for event in event_repository.after(session, 0) if event.kind == "rule_failed"]
    assert [(event.step, event.data) for event in told] == [
        (1, {"rule": "divergence", "error": "ZeroDivisionError: nothing to divide by"})
    ]
    assert [found.kind for found in alerts_of(either)] == ["non_finite"]
    assert "rule divergence failed" in caplog.text
    assert "in broken" in caplog.text
