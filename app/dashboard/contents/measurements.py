"""What the run page shows of measurements on demand: those waited for, the newest of each form, and all in a list."""

from typing import NamedTuple

from app.dashboard.panels.on_demand import FORMS, figure_of, form_of
from app.dashboard.panels.registry import Figure, Theme
from app.errors import NotFound
from app.services import lifecycle, measurements
from app.services.measurements import MeasurementView
from app.services.run_view import RunView
from app.storage.database import Session

CHOICES = (
    ("Loss along a line", {"kind": "landscape", "dimensions": 1}),
    ("Loss on a plane", {"kind": "landscape", "dimensions": 2}),
    ("Spectrum of the Hessian", {"kind": "spectral_density"}),
    ("Spectrum of the tangent kernel", {"kind": "ntk"}),
    ("Likeness of layers", {"kind": "cka"}),
)
"""What the page offers to measure, with the settings that are sent; what they leave out has its default."""


class Card(NamedTuple):
    """One measurement as a chart, or as a row."""

    id: str
    title: str
    hint: str
    log: bool | None
    measurement: MeasurementView


class Section(NamedTuple):
    """The part of the page. `offered`: whether the run can be measured now."""

    offered: bool
    charts: list[Card]
    rows: list[Card]
    num_waiting: int


def section(session: Session, run: RunView) -> Section:
    """What there is to show of a run that exists."""
    rows = [_card(each) for each in measurements.listed(session, run.id).items]
    newest: dict[str, Card] = {}
    for row in rows:
        if row.measurement.state == measurements.DONE:
            newest.setdefault(form_of(row.measurement.settings), row)
    return Section(
        offered=run.spec is not None and run.state in lifecycle.LIVE and run.wanted is None,
        charts=[newest[form] for form in FORMS if form in newest],
        rows=rows,
        num_waiting=sum(row.measurement.state == measurements.WAITING for row in rows),
    )


def figure(session: Session, run_id: str, measurement_id: str, *, theme: Theme, log: bool | None) -> Figure:
    """The figure of a measurement that is done.

    Raises:
        NotFound: no such run or measurement, or it has no values.
    """
    found = measurements.get(session, run_id, measurement_id)
    if found.values is None:
        raise NotFound(f"measurement {measurement_id} of run {run_id} is {found.state} and has no values to draw")
    drawn = figure_of(found.settings, found.values, theme=theme, log=log)
    circumstances = _circumstances(found)
    return drawn._replace(note=f"{circumstances} {drawn.note or FORMS[form_of(found.settings)].hint}")


def _card(measurement: MeasurementView) -> Card:
    form = FORMS[form_of(measurement.settings)]
    return Card(
        id=measurement.id,
        title=form.title,
        hint=f"{_circumstances(measurement)} {form.hint}",
        log=form.log,
        measurement=measurement,
    )


def _circumstances(measurement: MeasurementView) -> str:
    return f"Step {measurement.step:,}, {measurement.samples} samples." if measurement.samples else ""
