"""Claims, leases and silence, with the clock in hand."""

import threading
from datetime import datetime

import pytest

from app.errors import NotFound
from app.services import ingest, runs, workers
from app.services.reaper import Reaper, was_absent
from app.storage import runs as run_repository
from app.storage.database import Database, Session
from gyrostat.wire.messages import (
    Assignment,
    CheckpointReference,
    Event,
    EventKind,
    EventsMessage,
    Heartbeat,
    HeartbeatAnswer,
    RunAttempt,
    RunningReport,
)
from tests.app.control import SETTINGS, at, claim, get, register, report, start


class Hours:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self):  # type: ignore[no-untyped-def]
        return at(self.seconds)


@pytest.fixture
def clock() -> Hours:
    return Hours()


@pytest.fixture
def reaper(database: Database, clock: Hours) -> Reaper:
    return Reaper(database, SETTINGS, clock, wake=lambda: None)


def beat(database: Database, worker: str, seconds: float, *running: tuple[str, int]) -> HeartbeatAnswer:
    message = Heartbeat(running=[RunningReport(run=run, attempt=attempt, step=1) for run, attempt in running])

    def answered(session: Session) -> HeartbeatAnswer:
        return workers.heartbeat(session, worker, message, SETTINGS, at(seconds))

    return database.write(answered)


def test_a_worker_keeps_its_id_over_restarts(database: Database) -> None:
    first = register(database, pid=1)
    assert register(database, pid=2, now=at(5)) == first
    assert register(database, "other") != first
    with database.read() as session:
        shown = workers.list_workers(session, SETTINGS, at(6))
    assert [(worker.name, worker.pid, worker.reachable) for worker in shown] == [
        ("desk", 2, True),
        ("other", 100, True),
    ]


def test_the_oldest_run_that_the_worker_can_load_is_claimed(database: Database) -> None:
    text = start(database, preset="text-transformer", now=at(0))
    old, new = start(database, now=at(1)), start(database, now=at(2))
    worker = register(database, datasets=["digits"])
    claimed = [claim(database, worker, now=at(9)) for _ in range(3)]
    assert [assignment and assignment.run for assignment in claimed] == [old.id, new.id, None]
    assert claimed[0] is not None
    assert (claimed[0].attempt, claimed[0].resume, claimed[0].spec) == (1, None, old.spec)
    assert get(database, old.id).state == "starting"
    assert get(database, old.id).worker == "desk"
    assert get(database, text.id).state == "queued"
    reader = register(database, "reader", datasets=["python_topics"])
    assignment = claim(database, reader)
    assert assignment is not None
    assert assignment.run == text.id


def test_a_leaving_worker_gets_no_more_runs_until_it_registers_again(database: Database) -> None:
    run = start(database)
    worker = register(database, pid=1)
    goodbye = Heartbeat(leaving=True)
    database.write(lambda session: workers.heartbeat(session, worker, goodbye, SETTINGS, at(1)))
    assert claim(database, worker, now=at(2)) is None
    with database.read() as session:
        assert not workers.has_work(session, worker)
    assert register(database, pid=2, now=at(3)) == worker
    claimed = claim(database, worker, now=at(4))
    assert claimed is not None
    assert claimed.run == run.id


def test_eight_workers_that_race_claim_each_run_once(database: Database) -> None:
    made = {start(database, now=at(number)).id for number in range(20)}
    names = [register(database, f"worker-{number}") for number in range(8)]
    claimed: list[Assignment] = []
    barrier = threading.Barrier(8)

    def race(worker: str) -> None:
        barrier.wait()
        while (assignment := claim(database, worker)) is not None:
            claimed.append(assignment)

    threads = [threading.Thread(target=race, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(assignment.run for assignment in claimed) == sorted(made)
    assert {assignment.attempt for assignment in claimed} == {1}
    with database.read() as session:
        held = sum(len(worker.runs) for worker in workers.list_workers(session, SETTINGS, at(0)))
    assert held == 20


def test_a_silent_worker_is_unreachable_then_its_run_goes_on_elsewhere(
    database: Database, reaper: Reaper, clock: Hours
) -> None:
    run = start(database).id
    worker, other = register(database), register(database, "other")
    claim(database, worker)
    report(database, run, 1, "started")
    report(database, run, 1, "checkpoint", step=100, size_bytes=1)
    clock.seconds = 7
    assert reaper.sweep() == []
    clock.seconds = 9
    assert reaper.sweep() == [(run, "unreachable")]
    assert reaper.sweep() == []
    assert "desk has not been heard for 9 s" in get(database, run).reason
    clock.seconds = 21
    assert reaper.sweep() == [(run, "queued")]
    assignment = claim(database, other, now=at(22))
    assert assignment is not None
    assert assignment.resume is not None
    assert (assignment.attempt, assignment.resume.step) == (2, 100)
    lost = [RunAttempt(run=run, attempt=1)]
    assert beat(database, worker, 23, (run, 1)).abandon == lost, "the old worker must end it, unheard"
    assert beat(database, other, 23, (run, 1)).abandon == lost, "an old report is no reason to end the new attempt"
    assert beat(database, other, 23, (run, 2)).abandon == []


def test_a_worker_keeps_what_forks_have_to_start_from(database: Database) -> None:
    parent, worker = start(database, now=at(0)).id, register(database)
    claim(database, worker)
    report(database, parent, 1, "started")
    report(database, parent, 1, "checkpoint", step=100, size_bytes=1)
    fork = database.write(lambda session: runs.fork(session, parent, from_step=100, patch={}, now=at(1))).id
    needed = [CheckpointReference(run=parent, step=100)]
    assert beat(database, worker, 2, (parent, 1)).keep == needed
    claim(database, worker, now=at(3))
    assert beat(database, worker, 4, (parent, 1), (fork, 1)).keep == needed, "it is still loading"
    report(database, fork, 1, "started", step=100)
    assert beat(database, worker, 5, (parent, 1), (fork, 1)).keep == []


def test_a_worker_that_is_heard_again_heals_its_run(database: Database, reaper: Reaper, clock: Hours) -> None:
    started, starting = start(database, now=at(0)).id, start(database, now=at(1)).id
    worker = register(database)
    claim(database, worker)
    claim(database, worker)
    report(database, started, 1, "started")
    clock.seconds = 10
    assert sorted(reaper.sweep()) == sorted([(started, "unreachable"), (starting, "unreachable")])
    assert beat(database, worker, 11, (started, 1), (starting, 1)).abandon == []
    assert (get(database, started).state, get(database, starting).state) == ("running", "starting")
    assert "heard again" in get(database, started).reason
    clock.seconds = 30
    assert (started, "unreachable") in reaper.sweep()


def test_a_lost_worker_is_an_alert_until_the_run_goes_on(sqlite_database: Database, clock: Hours) -> None:
    reaper = Reaper(sqlite_database, SETTINGS, clock, wake=lambda: None)
    run = start(sqlite_database).id
    worker = register(sqlite_database)
    claim(sqlite_database, worker)
    report(sqlite_database, run, 1, "started")
    clock.seconds = 10
    reaper.sweep()
    assert get(sqlite_database, run).alerts == {"warning": 1}
    beat(sqlite_database, worker, 11, (run, 1))
    assert get(sqlite_database, run).alerts == {}
    clock.seconds = 40
    reaper.sweep()
    assert (get(sqlite_database, run).state, get(sqlite_database, run).alerts) == ("queued", {})
    claim(sqlite_database, worker, now=at(41))
    clock.seconds = 50
    reaper.sweep()
    assert get(sqlite_database, run).alerts == {"warning": 1}
    clock.seconds = 62
    reaper.sweep()
    claim(sqlite_database, worker, now=at(63))
    assert get(sqlite_database, run).alerts == {"warning": 1}, "claimed is not yet trained"
    report(sqlite_database, run, 3, "started", now=at(64))
    assert get(sqlite_database, run).alerts == {}


def test_a_heartbeat_renews_only_what_it_names(database: Database, reaper: Reaper, clock: Hours) -> None:
    kept, dropped = start(database, now=at(0)).id, start(database, now=at(1)).id
    worker = register(database)
    claim(database, worker)
    claim(database, worker)
    for seconds in range(2, 22, 2):
        beat(database, worker, seconds, (kept, 1))
    clock.seconds = 21
    assert reaper.sweep() == [(dropped, "queued")]
    assert get(database, kept).state == "starting"


def test_a_restarted_worker_gives_its_runs_up_at_once(database: Database) -> None:
    run = start(database).id
    worker = register(database, pid=1)
    claim(database, worker)
    register(database, pid=1, now=at(1))
    assert get(database, run).state == "starting", "the same process may introduce itself again"
    register(database, pid=2, now=at(2))
    shown = get(database, run)
    assert (shown.state, shown.attempt) == ("queued", 1)
    assert "was restarted" in shown.reason


def test_a_run_that_loses_every_worker_is_lost(database: Database, reaper: Reaper, clock: Hours) -> None:
    run = start(database).id
    worker = register(database)
    states = []
    for number in range(SETTINGS.max_attempts):
        clock.seconds = 100.0 * number
        claim(database, worker, now=at(clock.seconds))
        clock.seconds += 25
        states += reaper.sweep()
    assert states == [(run, "queued"), (run, "queued"), (run, "lost")]
    assert get(database, run).ended_at is not None
    assert claim(database, worker, now=at(1000)) is None


def test_what_a_user_wanted_of_a_lost_worker_is_done_without_it(
    database: Database, reaper: Reaper, clock: Hours
) -> None:
    run = start(database).id
    claim(database, register(database))
    report(database, run, 1, "started")
    database.write(lambda session: runs.stop(session, run, at(1)))
    clock.seconds = 30
    assert reaper.sweep() == [(run, "stopped")]


def test_a_backend_that_was_away_gives_every_lease_a_fresh_start(
    database: Database, reaper: Reaper, clock: Hours
) -> None:
    run = start(database).id
    worker = register(database)
    claim(database, worker)
    report(database, run, 1, "started")
    clock.seconds = 3600
    reaper.grant_grace()
    assert reaper.sweep() == []
    assert get(database, run).state == "running"
    clock.seconds = 3600 + 9
    assert reaper.sweep() == [(run, "unreachable")]
    clock.seconds = 3600 + 21
    assert reaper.sweep() == [(run, "queued")]


def hear(database: Database, run: str, sequence: int, kind: EventKind, now: datetime) -> None:
    """A message of an attached program."""
    event = Event(kind=kind, at=now.timestamp(), step=1)
    message = EventsMessage(producer="1-ab", sequence=sequence, attempt=1, events=[event])
    database.write(lambda session: ingest.store_events(session, run, message, now))


def test_an_attached_run_that_falls_silent_is_unreachable_until_it_is_heard(
    database: Database, reaper: Reaper, clock: Hours
) -> None:
    run = start(database, preset=None, attached=True).id
    clock.seconds = SETTINGS.attached_silence_seconds - 1
    assert reaper.sweep() == []
    clock.seconds += 2
    assert reaper.sweep() == [(run, "unreachable")]
    assert reaper.sweep() == []
    found = get(database, run)
    assert (found.state, found.reason) == ("unreachable", "its program has not been heard for 601 s")
    assert found.alerts == {"warning": 1}

    hear(database, run, 1, "log", at(clock.seconds + 1))
    found = get(database, run)
    assert (found.state, found.reason) == ("running", "its program was heard again")
    assert found.alerts == {}

    clock.seconds = 2000
    assert reaper.sweep() == [(run, "unreachable")]
    hear(database, run, 2, "finished", at(clock.seconds + 1))
    assert get(database, run).state == "finished"
    clock.seconds = 1e6
    assert reaper.sweep() == []


def test_silence_that_nobody_could_have_heard_does_not_count(database: Database, reaper: Reaper, clock: Hours) -> None:
    run = start(database, preset=None, attached=True).id
    clock.seconds = 3600
    reaper.grant_grace()
    assert reaper.sweep() == []
    clock.seconds = 3600 + SETTINGS.attached_silence_seconds + 1
    assert reaper.sweep() == [(run, "unreachable")]


def test_strangers_are_told_to_register(sqlite_database: Database) -> None:
    with pytest.raises(NotFound, match="register"):
        beat(sqlite_database, "nobody", 1)
    with pytest.raises(NotFound, match="register"):
        claim(sqlite_database, "nobody")


def test_a_heartbeat_for_somebody_elses_run_renews_nothing(sqlite_database: Database) -> None:
    run = start(sqlite_database).id
    claim(sqlite_database, register(sqlite_database))
    thief = register(sqlite_database, "thief")
    abandoned = beat(sqlite_database, thief, 5, (run, 1), ("nothing", 1)).abandon
    assert {(lost.run, lost.attempt) for lost in abandoned} == {(run, 1), ("nothing", 1)}
    with sqlite_database.read() as session:
        attempt = run_repository.attempt(session, run, 1)
        assert attempt is not None
        assert attempt.lease_until == at(SETTINGS.lease_seconds)


def test_the_reaper_thread_ends_promptly(sqlite_database: Database, clock: Hours) -> None:
    reaper = Reaper(sqlite_database, SETTINGS, clock, wake=lambda: None)
    reaper.start()
    reaper.stop()
    reaper.stop()


@pytest.mark.parametrize(
    ("passed", "absent"),
    [((1.0, 1.0), False), ((30.0, 30.0), True), ((0.5, 3600.0), True), ((1.0, -3600.0), False)],
    ids=["as usual", "stopped", "asleep: the monotonic clock stood still", "the wall clock was set back"],
)
def test_a_backend_that_slept_knows_that_it_was_away(passed: tuple[float, float], absent: bool) -> None:
    before = (100.0, 1_700_000_000.0)
    after = (before[0] + passed[0], before[1] + passed[1])
    assert was_absent(before, after, 4.0) is absent
