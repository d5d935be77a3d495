"""One panel of the run page as a figure: reads just what it draws."""

from typing import NamedTuple

from app.dashboard.panels.generic import PREFIX, generic_panel
from app.dashboard.panels.registry import PANELS, Figure, Mark, Options, Panel, Theme
from app.errors import NotFound
from app.services import metrics as metric_service
from app.services import runs as run_service
from app.services.asked import AGGREGATES
from app.services.metrics import Measured
from app.storage.database import Session

MAX_VALUES = 1_000_000
"""Values that one panel reads, at most: the more layers, the fewer columns."""
MIN_POINTS = 50


class Request(NamedTuple):
    """What the browser asks for: part of the time axis, how many pixels wide, how smooth, on which scale."""

    first: int | None
    last: int | None
    points: int
    smooth: float
    log: bool | None
    theme: Theme


def figure(session: Session, run_id: str, slug: str, asked: Request, marks: tuple[Mark, ...]) -> Figure:
    """The panel's figure.

    Raises:
        NotFound: no such run or panel. Invalid: the steps asked for are no range.
    """
    run = run_service.get(session, run_id)
    measured = {each.name: each for each in metric_service.catalogue(session, run_id)}
    panel = _panel(slug, measured)
    options = Options(
        first=0 if asked.first is None else asked.first,
        last=max(run.step, 1) if asked.last is None else asked.last,
        theme=asked.theme,
        smooth=asked.smooth,
        log=asked.log,
        marks=marks,
    )
    # of a map, the largest value of each cell is drawn, and whether anything in it is no number; names stand beside it
    aggregate = ("max",) if panel.layered else AGGREGATES
    points = asked.points // 2 if panel.layered else asked.points
    series = {
        metric: metric_service.series(
            session,
            run_id,
            metric,
            from_step=asked.first,
            to_step=asked.last,
            points=min(points, max(MIN_POINTS, MAX_VALUES // measured[metric].width)),
            aggregate=aggregate,
            at_revision=run.revision,
        )
        for metric in panel.metrics
        if metric in measured
    }
    return panel.draw(series, options)


def _panel(slug: str, measured: dict[str, Measured]) -> Panel:
    if slug in PANELS:
        return PANELS[slug]
    metric = measured.get(slug.removeprefix(PREFIX)) if slug.startswith(PREFIX) else None
    if metric is None:
        known = ", ".join(PANELS)
        raise NotFound(f"there is no panel {slug!r}; there are {known}, and {PREFIX}NAME for every metric of the run")
    return generic_panel(metric.name, metric.axis, metric.description)
