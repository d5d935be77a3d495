"""Applying remedies to forks and to running trainings, and judging what came of it."""

from typing import Any

import numpy as np
import pytest

from app.errors import Conflict, NotFound
from app.services import remedies, runs
from app.services.remedies import Applied
from app.storage import runs as run_repository
from app.storage.database import Database
from tests.app.alarmed import alert, alerts_of, diverge, layout, losses, trained
from tests.app.control import at, claim, get, register, report
from tests.app.measured import Sender


@pytest.fixture
def database(sqlite_database: Database) -> Database:
    """Where the kind of database makes no difference."""
    return sqlite_database


def apply(database: Database, alert_id: str, number: int = 0, mode: remedies.Mode = "fork") -> Applied:
    return database.write(lambda session: remedies.apply(session, alert_id, number, mode, at(100)))


def number_of(database: Database, alert_id: str, stabilizer: str | None) -> int:
    offered = alert(database, alert_id).remedies
    return next(number for number, remedy in enumerate(offered) if remedy.stabilizer == stabilizer)


def test_a_fork_begins_at_the_last_checkpoint_before_the_onset(either: Database) -> None:
    sender = trained(either, preset="sick-large-rate")
    losses(sender, range(1, 251), [2.3] * 250)
    for step in (100, 200, 300):
        report(either, sender.run_id, 1, "checkpoint", step=step, best=False)
    losses(sender, range(251, 261), [90.0] * 10)
    (found,) = alerts_of(either, kind="divergence")
    applied = apply(either, found.id, number_of(either, found.id, None))
    assert (applied.mode, applied.from_step) == ("fork", 200)
    fork = get(either, applied.run)
    assert (fork.parent, fork.parent_step, fork.state) == (sender.run_id, 200, "queued")
    assert fork.spec is not None
    assert fork.spec["optimizer"]["learning_rate"] == pytest.approx(0.1)
    change = alert(either, found.id).changes[-1]
    assert (change.kind, change.data["run"]) == ("remedy_applied", applied.run)
    assert "from step 200" in change.note


def test_a_remedy_that_changes_start_or_schedule_is_tried_from_scratch(database: Database) -> None:
    sender = trained(database, preset="sick-large-rate")
    report(database, sender.run_id, 1, "checkpoint", step=5, best=False)
    diverge(sender)
    (found,) = alerts_of(database, kind="divergence")
    for stabilizer in ("schedule.linear_warmup", "norm.batch"):
        assert apply(database, found.id, number_of(database, found.id, stabilizer)).from_step is None


def test_a_live_remedy_becomes_a_command_to_the_worker(database: Database) -> None:
    sender = trained(database, preset="sick-large-rate")
    diverge(sender)
    (found,) = alerts_of(database, kind="divergence")
    applied = apply(database, found.id, 0, "live")
    assert applied.run == sender.run_id
    with database.read() as session:
        (command,) = run_repository.commands(session, sender.run_id, 1)
    assert (command.kind, command.data) == ("control", {"learning_rate_factor": 0.1})


def test_what_cannot_be_applied_says_why(database: Database) -> None:
    sender = trained(database, preset="sick-large-rate")
    diverge(sender)
    (found,) = alerts_of(database, kind="divergence")
    with pytest.raises(NotFound, match="no remedy 9"):
        apply(database, found.id, 9)
    with pytest.raises(NotFound, match="no alert"):
        apply(database, "nope")
    with pytest.raises(Conflict, match="to a fork instead"):
        apply(database, found.id, number_of(database, found.id, "norm.batch"), "live")
    report(database, sender.run_id, 1, "finished", step=20)
    with pytest.raises(Conflict, match="only a run that a worker trains"):
        apply(database, found.id, 0, "live")


def _end(database: Database, run: str, final: float, *, diverging: bool = False) -> None:
    worker = register(database, "other")
    assignment = claim(database, worker)
    assert assignment is not None
    assert assignment.run == run
    report(database, run, assignment.attempt, "started")
    sender = Sender(database, run, attempt=assignment.attempt)
    sender.layout(layout())
    if diverging:
        diverge(sender)
    sender.frames([50], {"loss.validation": np.array([final])})
    report(database, run, assignment.attempt, "finished", step=50)


@pytest.mark.parametrize(
    ("parent", "fork", "diverging", "gone", "better"),
    [
        (2.3, 0.2, False, True, True),
        (0.2, 2.3, False, True, False),
        (np.nan, 0.2, False, True, True),
        (2.3, np.nan, True, False, False),
    ],
)
def test_when_the_fork_has_ended_the_alert_says_what_came_of_it(
    either: Database, parent: float, fork: float, diverging: bool, gone: bool, better: bool
) -> None:
    sender = trained(either, preset="sick-large-rate")
    diverge(sender)
    sender.frames([50], {"loss.validation": np.array([parent])})
    report(either, sender.run_id, 1, "finished", step=50)
    (found,) = alerts_of(either, kind="divergence")
    applied = apply(either, found.id)
    _end(either, applied.run, fork, diverging=diverging)
    judged = alert(either, found.id).changes[-1]
    assert judged.kind == "remedy_judged"
    assert (judged.data["alert_gone"], judged.data["better"], judged.data["remedy"]) == (gone, better, 0)
    assert ("did not come back" in judged.note) is gone


def test_a_fork_that_nothing_can_be_compared_of_is_judged_by_its_alert_alone(database: Database) -> None:
    sender = trained(database, preset="sick-large-rate")
    diverge(sender)
    (found,) = alerts_of(database, kind="divergence")
    applied = apply(database, found.id)
    database.write(lambda session: runs.stop(session, applied.run, at(200)))
    judged = alert(database, found.id).changes[-1]
    assert (judged.kind, judged.data["better"], judged.data["metric"]) == ("remedy_judged", None, None)


def test_forks_made_without_a_remedy_are_not_judged(database: Database) -> None:
    sender = trained(database, preset="sick-large-rate")
    diverge(sender)
    (found,) = alerts_of(database, kind="divergence")
    fork = database.write(lambda session: runs.fork(session, sender.run_id, from_step=None, patch={}, now=at(100)))
    database.write(lambda session: runs.stop(session, fork.id, at(200)))
    assert [change.kind for change in alert(database, found.id).changes] == ["opened"]


@pytest.mark.parametrize(
    ("patch", "fits"),
    [
        ({"optimizer": {"learning_rate": 0.1}}, True),
        ({"optimizer": {"base": {"learning_rate": 0.1}}}, True),
        ({"optimizer": {"kind": "adamw"}}, False),
        ({"optimizer": {"base": {"kind": "adamw"}}}, False),
        ({"gradients": {"clip": "norm"}}, True),
        ({"schedule": {"warmup": "linear_warmup"}}, False),
    ],
)
def test_a_fork_starts_from_a_checkpoint_where_its_state_is_of_use(patch: dict[str, Any], fits: bool) -> None:
    assert remedies._fits_checkpoint(patch) == fits
