"""`/v1/rules` and `/v1/detectors`: what is watched for, from which threshold on, and what that would have said."""

from fastapi import APIRouter
from pydantic import Field

from app.deps import ADMIN, READ, DatabaseDep, NowDep
from app.services import rules as rule_service
from app.services.rules import Backtest, BacktestRequest, DetectorView, RuleView
from app.services.run_requests import Body
from app.services.run_view import View
from gyrostat.spec.run import RuleOverride

router = APIRouter(prefix="/v1", tags=["rules"])


class RulesRequest(Body):
    """Changes to rules, for all runs."""

    rules: dict[str, RuleOverride] = Field(
        max_length=100, examples=[{"loss_spike": {"severity": "warning", "settings": {"sigmas": 8.0}}}]
    )
    """By kind; a rule that is left out goes back to its defaults."""


class Rules(View):
    """Every rule."""

    items: list[RuleView]
    """In the catalogue's order."""
    next: None = None
    """There is no second page."""


class Detectors(View):
    """Every detector."""

    items: list[DetectorView]
    """In the catalogue's order."""
    next: None = None
    """There is no second page."""


@router.get("/detectors", dependencies=[READ], summary="List the detectors", tags=["catalogue"])
def list_detectors() -> Detectors:
    """Every kind of alert: what it means, what it reads, its thresholds and where they come from."""
    return Detectors(items=rule_service.detectors())


@router.get("/rules", dependencies=[READ], summary="List the alert rules")
def list_rules(database: DatabaseDep) -> Rules:
    """Every rule with its severity and thresholds, as they hold for runs that do not change them in their spec."""
    with database.read() as session:
        return Rules(items=rule_service.list_rules(session))


@router.put("/rules", dependencies=[ADMIN], summary="Change the alert rules")
def put_rules(body: RulesRequest, database: DatabaseDep, now: NowDep) -> Rules:
    """Replaces all changes to rules. A rule that changes starts afresh on every run; its open alerts are resolved."""
    return Rules(items=database.write(lambda session: rule_service.put_rules(session, body.rules, now)))


@router.post("/rules:backtest", dependencies=[READ], summary="Try a rule on a stored run")
def backtest_rule(body: BacktestRequest, database: DatabaseDep) -> Backtest:
    """Replays what is stored of a run through one rule and tells what it would have said; nothing is changed."""
    with database.read() as session:
        return rule_service.backtest(session, body)
