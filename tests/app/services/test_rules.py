"""Rules for all runs, and what a rule would have said of a stored one."""

import numpy as np
import pytest

from app.alerts.base import DETECTORS
from app.errors import Invalid, NotFound
from app.services import rules
from app.services.rules import Backtest, BacktestRequest
from app.storage.database import Database
from gyrostat.spec.run import RuleOverride
from tests.app.alarmed import alert, alerts_of, diverge, losses, trained
from tests.app.alerts.streams import MATRICES, PARAMETERS
from tests.app.control import at


@pytest.fixture
def database(sqlite_database: Database) -> Database:
    """Where the kind of database makes no difference."""
    return sqlite_database


def put(database: Database, **overrides: RuleOverride) -> list[rules.RuleView]:
    return database.write(lambda session: rules.put_rules(session, overrides, at(0)))


def backtest(database: Database, run: str, rule: str, **settings: float) -> Backtest:
    with database.read() as session:
        return rules.backtest(session, BacktestRequest(run=run, rule=rule, settings=settings))


def test_every_rule_is_listed_with_its_thresholds(database: Database) -> None:
    with database.read() as session:
        listed = rules.list_rules(session)
    assert [rule.kind for rule in listed] == list(DETECTORS) == [detector.kind for detector in rules.detectors()]
    assert not any(rule.changed for rule in listed)
    assert next(rule for rule in listed if rule.kind == "divergence").settings["factor"] == 3.0


def test_putting_rules_replaces_all_changes(either: Database) -> None:
    put(either, divergence=RuleOverride(settings={"factor": 7.0}), dead_units=RuleOverride(enabled=False))
    listed = {rule.kind: rule for rule in put(either, divergence=RuleOverride(severity="info"))}
    assert (listed["divergence"].settings["factor"], listed["divergence"].severity) == (3.0, "info")
    assert listed["dead_units"].enabled
    assert [rule.kind for rule in listed.values() if rule.changed] == ["divergence"]


def test_wrong_rules_change_nothing_and_list_every_problem(database: Database) -> None:
    put(database, divergence=RuleOverride(enabled=False))
    with pytest.raises(Invalid) as raised:
        put(database, nothing=RuleOverride(), loss_spike=RuleOverride(settings={"sigmas": -1}))
    assert [problem.path for problem in raised.value.problems] == ["rules.nothing", "rules.loss_spike.settings.sigmas"]
    with database.read() as session:
        assert [rule.kind for rule in rules.list_rules(session) if rule.changed] == ["divergence"]


def test_a_changed_rule_closes_its_alert_and_starts_afresh(database: Database) -> None:
    sender = trained(database)
    diverge(sender)
    (found,) = alerts_of(database)
    put(database, divergence=RuleOverride(settings={"factor": 1000.0}))
    losses(sender, range(21, 40), [90.0] * 19)
    closed = alert(database, found.id)
    assert closed.state == "resolved"
    assert "starts afresh" in closed.changes[-1].note


def test_a_backtest_says_what_the_rule_said_and_what_another_threshold_would_have(database: Database) -> None:
    sender = trained(database)
    diverge(sender)
    (found,) = alerts_of(database)
    again = backtest(database, sender.run_id, "divergence")
    assert (again.frames, again.truncated) == (20, False)
    assert [(item.change, item.step, item.summary) for item in again.items] == [("opened", 15, found.summary)]
    assert backtest(database, sender.run_id, "divergence", factor=50.0).items == []
    assert len(alerts_of(database)) == 1


def test_a_backtest_puts_layers_together_again(either: Database) -> None:
    sender = trained(either)
    norms = np.ones((10, len(PARAMETERS)))
    norms[:, ::2] = np.geomspace(1e-8, 1.0, len(MATRICES))
    sender.frames(range(5, 55, 5), {"gradient.norm": norms})
    (item,) = backtest(either, sender.run_id, "vanishing_gradient").items
    assert item.names[:2] == list(MATRICES[:2])
    assert backtest(either, sender.run_id, "dead_units").frames == 0


def test_what_cannot_be_tried_says_why(database: Database) -> None:
    run = trained(database).run_id
    with pytest.raises(NotFound, match="no run"):
        backtest(database, "nope", "divergence")
    with pytest.raises(Invalid, match="1 problem"):
        backtest(database, run, "divergense")
    with pytest.raises(Invalid, match="from outside"):
        backtest(database, run, "worker_lost")
