"""Stop, pause, resume and live changes, at once or by a command."""

from collections.abc import Callable
from typing import Any

import pytest

from app.errors import Conflict, Invalid
from app.services import runs, workers
from app.services.run_view import RunView
from app.storage.database import Database, Session
from gyrostat.wire.messages import Heartbeat, HeartbeatAnswer, RunningReport
from tests.app.control import SETTINGS, at, claim, get, register, report, start


def do(database: Database, action: Callable[..., RunView], run: str, *more: Any) -> RunView:
    return database.write(lambda session: action(session, run, *more, at(3)))


def beat(database: Database, worker: str, run: str, *, attempt: int = 1, done: tuple[int, ...] = ()) -> HeartbeatAnswer:
    message = Heartbeat(running=[RunningReport(run=run, attempt=attempt, step=5)], done=list(done))

    def answered(session: Session) -> HeartbeatAnswer:
        return workers.heartbeat(session, worker, message, SETTINGS, at(4))

    return database.write(answered)


@pytest.fixture
def training(sqlite_database: Database) -> tuple[Database, str, str]:
    run = start(sqlite_database)
    worker = register(sqlite_database)
    claim(sqlite_database, worker)
    report(sqlite_database, run.id, 1, "started")
    return sqlite_database, run.id, worker


Training = tuple[Database, str, str]


def test_a_queued_run_stops_pauses_and_resumes_at_once(sqlite_database: Database) -> None:
    run = start(sqlite_database).id
    assert do(sqlite_database, runs.pause, run).state == "paused"
    assert do(sqlite_database, runs.pause, run).state == "paused"
    assert claim(sqlite_database, register(sqlite_database)) is None
    assert do(sqlite_database, runs.resume, run).state == "queued"
    assert do(sqlite_database, runs.resume, run).state == "queued"
    assert do(sqlite_database, runs.stop, run).state == "stopped"
    assert do(sqlite_database, runs.stop, run).state == "stopped"
    for action in (runs.pause, runs.resume):
        with pytest.raises(Conflict):
            do(sqlite_database, action, run)


def test_a_running_run_stops_when_its_worker_says_so(training: Training) -> None:
    database, run, worker = training
    asked = do(database, runs.stop, run)
    assert (asked.state, asked.wanted) == ("running", "stopped")
    do(database, runs.stop, run)
    first, again = beat(database, worker, run), beat(database, worker, run)
    assert [command.kind for command in first.commands] == ["stop"], "asked twice, told once"
    assert again.commands == first.commands, "repeated until it is done"
    assert beat(database, worker, run, done=(first.commands[0].id,)).commands == []
    report(database, run, 1, "stopped", step=6)
    shown = get(database, run)
    assert (shown.state, shown.wanted) == ("stopped", None)


def test_a_paused_run_goes_on_as_a_new_attempt_from_its_checkpoint(training: Training) -> None:
    database, run, worker = training
    do(database, runs.pause, run)
    with pytest.raises(Conflict, match="on its way"):
        do(database, runs.resume, run)
    report(database, run, 1, "checkpoint", step=40, size_bytes=1)
    report(database, run, 1, "paused", step=40)
    assert get(database, run).state == "paused"
    do(database, runs.resume, run)
    assignment = claim(database, worker)
    assert assignment is not None
    assert assignment.resume is not None
    assert (assignment.attempt, assignment.resume.step) == (2, 40)
    assert beat(database, worker, run, attempt=2).commands == [], "commands of the last attempt are over"


def test_stop_overrules_pause_but_not_the_other_way_round(training: Training) -> None:
    database, run, _ = training
    do(database, runs.pause, run)
    assert do(database, runs.stop, run).wanted == "stopped"
    with pytest.raises(Conflict, match="being stopped"):
        do(database, runs.pause, run)
    report(database, run, 1, "interrupted")
    assert get(database, run).state == "stopped"


def test_live_changes_reach_the_worker_in_order(training: Training) -> None:
    database, run, worker = training
    do(database, runs.control, run, {"learning_rate_factor": 0.1})
    do(database, runs.control, run, {"clip_norm": 1.0, "tighten_probes": True})
    commands = beat(database, worker, run).commands
    assert [(command.kind, command.data) for command in commands] == [
        ("control", {"learning_rate_factor": 0.1}),
        ("control", {"clip_norm": 1.0, "tighten_probes": True}),
    ]
    assert [c.data for c in beat(database, worker, run, done=(commands[0].id,)).commands] == [commands[1].data]


@pytest.mark.parametrize("change", [{}, {"learning_rate_factor": 0}, {"clip_norm": "1"}, {"rate": 1}])
def test_a_change_that_is_none_is_refused(training: Training, change: dict[str, Any]) -> None:
    database, run, _ = training
    with pytest.raises(Invalid) as caught:
        do(database, runs.control, run, change)
    assert caught.value.problems


def test_only_a_run_that_is_trained_can_be_changed_live(sqlite_database: Database) -> None:
    with pytest.raises(Conflict, match="queued"):
        do(sqlite_database, runs.control, start(sqlite_database).id, {"clip_norm": 1.0})


def test_a_worker_cannot_tick_off_the_commands_of_another(training: Training) -> None:
    database, run, worker = training
    do(database, runs.stop, run)
    number = beat(database, worker, run).commands[0].id
    other = register(database, "other")
    beat(database, other, run, done=(number,))
    assert [command.id for command in beat(database, worker, run).commands] == [number]


def test_an_attached_run_is_stopped_at_once_and_never_paused(sqlite_database: Database) -> None:
    run = start(sqlite_database, preset=None, attached=True).id
    with pytest.raises(Conflict, match="attached"):
        do(sqlite_database, runs.pause, run)
    with pytest.raises(Conflict, match="attached"):
        do(sqlite_database, runs.control, run, {"clip_norm": 1.0})
    assert do(sqlite_database, runs.stop, run).state == "stopped"
