"""What the runs page shows: rows with their newest numbers, filters, pages."""

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

import numpy as np

from app.dashboard.contents.newest import newest_scalars
from app.dashboard.looks import SEVERITIES, STATES
from app.dashboard.sparkline import Sparkline, sparkline
from app.errors import Damaged
from app.services import metrics as metric_service
from app.services import runs as run_service
from app.services.run_view import RunView
from app.storage import runs as run_repository
from app.storage.database import Session
from gyrostat.spec.presets import PRESETS
from gyrostat.wire.values import is_absent

PAGE_SIZE = 25
SPARK_POINTS = 60
ORDERS = {
    "-created_at": "newest first",
    "-updated_at": "last changed first",
    "created_at": "oldest first",
    "name": "by name",
}
SPARKED = ("loss.train", "loss.validation")


class Filters(NamedTuple):
    """What the query string asks for; empty for everything."""

    q: str = ""
    state: str = ""
    project: str = ""
    tag: str = ""
    order: str = ""
    cursor: str = ""

    def query(self, **changed: str) -> str:
        """The query string, with its question mark; empty where nothing is asked for."""
        given = {key: value for key, value in (self._asdict() | changed).items() if value}
        return "?" + urlencode(given) if given else ""

    @property
    def restricting(self) -> bool:
        """Whether runs may be hidden."""
        return bool(self.q or self.state or self.project or self.tag)


class Choice(NamedTuple):
    """One select of the filters."""

    name: str
    label: str
    value: str
    choices: tuple[tuple[str, str], ...]


class Row(NamedTuple):
    """One run of the list. `alerts`: open ones by severity, worst first."""

    run: RunView
    loss: float | None
    accuracy: float | None
    spark: Sparkline
    alerts: tuple[tuple[str, int], ...]


def context(session: Session, filters: Filters, base_url: str) -> dict[str, Any]:
    """Everything that templates/parts/runs.html and runs.html name.

    Raises:
        Invalid: the order or the cursor is none.
    """
    found = run_service.list_runs(
        session,
        project=filters.project or None,
        state=filters.state or None,
        tag=filters.tag or None,
        q=filters.q or None,
        order=filters.order or "-created_at",
        cursor=filters.cursor or None,
        limit=PAGE_SIZE,
    )
    rows = [_row(session, run) for run in found.items]
    return {
        "rows": rows,
        "filters": filters,
        "filtered": filters.restricting,
        "filter_fields": _choices(session, filters, rows),
        "query": filters.query(),
        "next_url": "/" + filters.query(cursor=found.next) if found.next else "",
        "first_url": "/" + filters.query(cursor=""),
        "order_text": ORDERS.get(filters.order or "-created_at", ""),
        "presets": list(PRESETS.values()),
        "curl": _curl(base_url),
    }


def _row(session: Session, run: RunView) -> Row:
    newest = newest_scalars(session, run.id)
    loss = next((newest[metric] for metric in SPARKED if metric in newest), None)
    accuracy = newest.get("accuracy.validation") or newest.get("accuracy.train")
    counts = tuple((severity, run.alerts[severity]) for severity in SEVERITIES if run.alerts.get(severity))
    return Row(
        run=run,
        loss=loss.value if loss else None,
        accuracy=accuracy.value if accuracy else None,
        spark=_spark(session, run.id, newest),
        alerts=counts,
    )


def _spark(session: Session, run_id: str, newest: Mapping[str, Any]) -> Sparkline:
    metric = next((metric for metric in SPARKED if metric in newest), None)
    if metric is None:
        return sparkline([])
    try:
        series = metric_service.series(session, run_id, metric, points=SPARK_POINTS)
    except Damaged:  # the run's own page says so
        return sparkline([])
    column = series.values[:, 0] if series.mean is None else series.mean[:, 0]
    broken = np.zeros(len(column), dtype=bool) if series.nonfinite is None else series.nonfinite[:, 0] > 0
    shown = np.where(broken, np.nan, column)[~is_absent(series.values[:, 0])]
    return sparkline(shown.tolist())


def _choices(session: Session, filters: Filters, rows: list[Row]) -> tuple[Choice, ...]:
    projects = [
        ("", "All projects"),
        *((name, f"{name} ({count})") for name, count in run_repository.projects(session).items()),
    ]
    tags = sorted({tag for row in rows for tag in row.run.tags} | ({filters.tag} - {""}))
    return (
        Choice("state", "State", filters.state, (("", "All states"), *((state, state) for state in STATES))),
        Choice("project", "Project", filters.project, tuple(projects)),
        Choice("tag", "Tag", filters.tag, (("", "All tags"), *((tag, tag) for tag in tags))),
        Choice("order", "Order", filters.order or "-created_at", tuple(ORDERS.items())),
    )


def _curl(base_url: str) -> str:
    return f"curl {base_url}v1/runs \\\n  -H 'Content-Type: application/json' \\\n  -d '{{\"preset\": \"digits-mlp\"}}'"
