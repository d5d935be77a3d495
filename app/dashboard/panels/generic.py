"""A panel for any metric, so that what an attached training measures is drawn without a file of its own."""

from collections.abc import Mapping

from app.dashboard.panels import grid, line
from app.dashboard.panels.registry import PANELS, Figure, Options, Panel
from app.dashboard.panels.style import PALETTES
from app.series import Series
from gyrostat.spec.metrics import METRICS

PREFIX = "metric."

_FAMILIES = {
    "activation": "Activations",
    "attention": "Attention",
    "curvature": "Curvature",
    "generalization": "Generalization",
    "gradient": "Gradients",
    "kernel": "Tangent kernel",
    "lipschitz": "Lipschitz control",
    "normalization": "Normalization",
    "optimizer": "Optimizer",
    "precision": "Number formats",
    "rank": "Ranks",
    "representation": "Representation",
    "update": "Updates",
    "weight": "Weights",
}
"""Titles of what the catalogue's metrics are called by before the dot."""


def generic_panel(metric: str, axis: str, description: str) -> Panel:
    """A curve for a scalar, a map of layers over steps for everything else."""
    known = METRICS.get(metric)
    log = known.log if known else False

    def draw(series: Mapping[str, Series], options: Options) -> Figure:
        if metric not in series:
            return Figure([], {}, "No values yet.")
        chosen = log if options.log is None else options.log
        if axis != "run":
            return grid.figure_of(grid.grid_of(series[metric]), options, log=chosen, quantity=metric)
        curve = line.line_of(series[metric], metric, weight=options.smooth)
        return line.figure_of([(curve, PALETTES[options.theme].lines[0], "solid")], options, log=chosen)

    return Panel(
        slug=PREFIX + metric,
        title=metric,
        metrics=(metric,),
        hint=description or "Measured by the training itself.",
        draw=draw,
        controls=("log",) if axis != "run" else ("smooth", "log"),
        log=log,
        layered=axis != "run",
    )


def family_of(metric: str) -> str:
    """Title of the family whose panels a metric of the catalogue is drawn with; "" where it stands by itself.

    By itself stands what the training itself measures, and what belongs to one kind of task.
    """
    return _FAMILIES.get(metric.partition(".")[0], "") if metric in METRICS else ""


def is_drawn(metric: str) -> bool:
    """Whether a panel of its own shows `metric`."""
    return any(metric in panel.metrics for panel in PANELS.values())
