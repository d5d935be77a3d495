"""The states of a run, on both databases."""

import itertools

import pytest

from app.errors import Conflict, Invalid, NotFound
from app.services import lifecycle
from app.services.lifecycle import STATES
from app.storage import events as event_repository
from app.storage import runs as run_repository
from app.storage.database import Database, Session
from tests.app.control import START, at, claim, get, put_into, register, report, start

# written out by hand, line by line as docs/architecture.md tells it
ALLOWED = """
queued      -> starting paused stopped finished failed
starting    -> running paused queued unreachable lost stopped finished failed
running     -> paused queued unreachable lost stopped finished failed
unreachable -> starting running paused queued lost stopped finished failed
paused      -> queued stopped
lost        -> finished failed stopped
finished    ->
failed      ->
stopped     ->
"""
TABLE = {old.strip(): new.split() for old, _, new in (line.partition("->") for line in ALLOWED.strip().splitlines())}


def test_the_table_of_states_knows_every_state() -> None:
    assert set(TABLE) == set(STATES)
    assert lifecycle.SUCCESSORS[None] == {"queued", "running"}


def test_every_pair_of_states_is_allowed_or_refused_as_the_table_says(database: Database) -> None:
    run = start(database)
    for old, new in itertools.product(STATES, STATES):

        def change(session: Session, old: str = old, new: str = new) -> None:
            lifecycle.transition(session, put_into(session, run.id, old), new, "because", at(1))
            raise _Undo

        expected = _Undo if new in TABLE[old] else Conflict
        with pytest.raises(expected):
            database.write(change)
    assert get(database, run.id).state == "queued"


class _Undo(Exception):
    """Takes a test's change back."""


def test_each_change_is_a_row_an_event_and_a_revision(database: Database) -> None:
    run = start(database)
    before = get(database, run.id)
    database.write(
        lambda session: lifecycle.transition(
            session, put_into(session, run.id, "queued"), "stopped", "no longer needed", at(5)
        )
    )
    after = get(database, run.id)
    assert (after.state, after.reason, after.ended_at) == ("stopped", "no longer needed", at(5))
    assert after.revision == before.revision + 1
    with database.read() as session:
        rows = [(row.old, row.new, row.reason, row.at) for row in run_repository.transitions(session, run.id)]
        events = [(event.kind, event.data["new"]) for event in event_repository.after(session, 0, run_id=run.id)]
    assert rows == [(None, "queued", "asked for", START), ("queued", "stopped", "no longer needed", at(5))]
    assert events == [("state", "queued"), ("state", "stopped")]


@pytest.fixture
def training(sqlite_database: Database) -> tuple[Database, str, str]:
    """A database, a run in its first attempt, and its worker."""
    run = start(sqlite_database)
    worker = register(sqlite_database)
    assignment = claim(sqlite_database, worker)
    assert assignment is not None
    return sqlite_database, run.id, worker


Training = tuple[Database, str, str]


def test_a_training_runs_from_its_start_to_its_end(training: Training) -> None:
    database, run, _ = training
    report(database, run, 1, "started", now=at(1))
    assert get(database, run).state == "running"
    assert get(database, run).started_at == at(1)
    report(database, run, 1, "finished", step=600, now=at(2))
    assert (get(database, run).state, get(database, run).ended_at) == ("finished", at(2))


def test_what_is_told_twice_happens_once(training: Training) -> None:
    database, run, _ = training
    for kind in ("started", "started", "finished", "finished", "started"):
        report(database, run, 1, kind, step=3)
    with database.read() as session:
        assert [row.new for row in run_repository.transitions(session, run)] == [
            "queued", "starting", "running", "finished",
        ]  # fmt: skip


def test_a_failure_keeps_its_error_and_the_end_of_its_traceback(training: Training) -> None:
    database, run, _ = training
    report(database, run, 1, "started")
    report(database, run, 1, "failed", error="ValueError: nope", traceback="x" * 100_000 + "the end")
    shown = get(database, run)
    assert shown.failure is not None
    assert (shown.state, shown.reason, shown.failure.error) == ("failed", "ValueError: nope", "ValueError: nope")
    assert shown.failure.traceback.endswith("the end")
    assert len(shown.failure.traceback) == lifecycle.MAX_TRACEBACK


def test_an_interrupted_training_is_queued_again_at_once(training: Training) -> None:
    database, run, worker = training
    report(database, run, 1, "started")
    report(database, run, 1, "checkpoint", step=100, size_bytes=10)
    report(database, run, 1, "interrupted", step=100)
    shown = get(database, run)
    assert shown.state == "queued"
    assert "worker was told to go" in shown.reason
    again = claim(database, worker)
    assert again is not None
    assert again.attempt == 2
    assert again.resume is not None
    assert again.resume.step == 100


def test_a_superseded_attempt_changes_nothing_but_is_written_down(training: Training) -> None:
    database, run, worker = training
    report(database, run, 1, "started")
    report(database, run, 1, "interrupted")
    claim(database, worker)
    for kind in ("started", "finished", "failed", "stopped", "paused", "interrupted"):
        report(database, run, 1, kind)
    assert (get(database, run).state, get(database, run).attempt) == ("starting", 2)
    with database.read() as session:
        kinds = [event.kind for event in event_repository.after(session, 0, run_id=run)]
    assert kinds.count("finished") == 1


def test_an_attempt_that_had_to_start_earlier_than_asked_shows_no_older_frames_after_that(training: Training) -> None:
    database, run, worker = training
    report(database, run, 1, "started")
    report(database, run, 1, "checkpoint", step=100, size_bytes=10)
    report(database, run, 1, "interrupted", step=100)
    again = claim(database, worker)
    assert again is not None
    assert again.resume is not None
    assert again.resume.step == 100
    report(database, run, 2, "started", step=40)
    with database.read() as session:
        attempt = run_repository.attempt(session, run, 2)
    assert attempt is not None
    assert attempt.start_step == 40


def test_an_end_that_was_reported_late_is_still_the_end(training: Training) -> None:
    database, run, _ = training
    report(database, run, 1, "started")
    database.write(
        lambda session: lifecycle.release(
            session,
            put_into(session, run, "running"),
            run_repository.attempt(session, run, 1),  # type: ignore[arg-type]
            "silent",
            max_attempts=3,
            now=at(30),
        )
    )
    assert get(database, run).state == "queued"
    report(database, run, 1, "started", now=at(31))
    assert get(database, run).state == "queued", "a worker that was given up does not take the run back"
    report(database, run, 1, "finished", step=600, now=at(32))
    assert get(database, run).state == "finished"


def test_reports_of_an_attempt_that_never_was_are_refused(training: Training) -> None:
    database, run, _ = training
    with pytest.raises(NotFound, match="no attempt 7"):
        report(database, run, 7, "finished")


def test_only_the_newest_checkpoints_and_the_best_are_kept(training: Training) -> None:
    database, run, _ = training
    for step, metric in ((100, 0.5), (200, 0.2), (300, 0.4), (400, 0.6), (500, "NaN"), (500, 0.7)):
        report(database, run, 1, "checkpoint", step=step, best=step == 200, metric=metric, size_bytes=step)
    with database.read() as session:
        kept = [(row.step, row.best, row.metric) for row in run_repository.checkpoints(session, run)]
    assert kept == [(200, True, 0.2), (300, False, 0.4), (400, False, 0.6), (500, False, 0.7)]


def test_the_checkpoints_that_a_worker_says_it_keeps_are_those_that_can_be_resumed_from(training: Training) -> None:
    database, run, _ = training
    for step, kept in ((40, [40]), (50, [40, 50]), (80, [40, 50, 80]), (100, [40, 80, 100])):
        report(database, run, 1, "checkpoint", step=step, best=step in (50, 100), size_bytes=1, kept=kept)
    with database.read() as session:
        assert [row.step for row in run_repository.checkpoints(session, run)] == [40, 80, 100]
    report(database, run, 1, "checkpoint", step=120, size_bytes=1, kept=["x", None])
    with database.read() as session:
        assert [row.step for row in run_repository.checkpoints(session, run)] == [80, 100, 120]


def test_a_checkpoint_without_a_usable_size_is_refused(training: Training) -> None:
    database, run, _ = training
    with pytest.raises(Invalid, match="size_bytes"):
        report(database, run, 1, "checkpoint", step=5, size_bytes=-1)


def test_a_run_that_nobody_can_finish_is_lost_after_its_attempts(training: Training) -> None:
    database, run, worker = training
    for number in (1, 2, 3):
        if number > 1:
            claim(database, worker)

        def lose(session: Session, number: int = number) -> None:
            row = run_repository.locked(session, run)
            attempt = run_repository.attempt(session, run, number)
            assert row is not None
            assert attempt is not None
            lifecycle.release(session, row, attempt, "silent", max_attempts=3, now=at(number))

        database.write(lose)
    assert get(database, run).state == "lost"
    assert "3 attempts" in get(database, run).reason
