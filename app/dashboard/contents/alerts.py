"""What the inbox of alerts shows."""

from typing import Any, NamedTuple
from urllib.parse import urlencode

from app.dashboard.contents.alert_cards import cards_of_all
from app.dashboard.looks import SEVERITIES
from app.services import alerting
from app.storage.database import Session

PAGE_SIZE = 30
STATES = ("open", "acknowledged", "resolved", "all")


class Filters(NamedTuple):
    """What the query string asks for. `state` all and `severity` empty restrict nothing."""

    state: str = "open"
    severity: str = ""
    cursor: str = ""

    def query(self, **changed: str) -> str:
        """The query string, with its question mark; empty for the open alerts of every severity."""
        given = self._asdict() | changed
        kept = {key: value for key, value in given.items() if value and not (key == "state" and value == "open")}
        return "?" + urlencode(kept) if kept else ""


def context(session: Session, filters: Filters) -> dict[str, Any]:
    """Everything that templates/alerts.html and _alerts.html name.

    Raises:
        Invalid: the cursor is none.
    """
    found = alerting.list_alerts(
        session,
        state=None if filters.state == "all" else filters.state,
        severity=filters.severity or None,
        cursor=filters.cursor or None,
        limit=PAGE_SIZE,
    )
    return {
        "alerts": cards_of_all(session, found.items),
        "query": filters.query(),
        "next_url": "/alerts" + filters.query(cursor=found.next) if found.next else "",
        "state_tabs": [_tab(filters, "state", state, state.capitalize()) for state in STATES],
        "severity_tabs": [
            _tab(filters, "severity", "", "Any"),
            *(_tab(filters, "severity", severity, severity.capitalize()) for severity in SEVERITIES),
        ],
        "empty_text": _empty_text(filters),
    }


def _tab(filters: Filters, name: str, value: str, text: str) -> tuple[str, str, bool]:
    href = "/alerts" + filters.query(cursor="", **{name: value})
    return text, href, getattr(filters, name) == value


def _empty_text(filters: Filters) -> str:
    if filters.state == "open":
        return "No rule has anything to say about any run. New alerts appear here by themselves."
    return "No alert has this state and severity."
