"""How states and severities look: a tone and a shape each, so that nothing is told by colour alone."""

from typing import NamedTuple

import app.alerts.detectors as _all_detectors  # noqa: F401 - importing them fills their registry
from app.alerts.base import DETECTORS


class Look(NamedTuple):
    """A tone of static/components.css and an icon of templates/parts/icons.html."""

    tone: str
    icon: str


_STATES = {
    "queued": Look("neutral", "clock"),
    "starting": Look("accent", "starting"),
    "running": Look("accent", "running"),
    "paused": Look("warning", "pause"),
    "finished": Look("ok", "check"),
    "failed": Look("critical", "cross"),
    "stopped": Look("neutral", "stop"),
    "unreachable": Look("warning", "unreachable"),
    "lost": Look("critical", "cross"),
}
STATES = tuple(_STATES)
SEVERITIES = ("critical", "warning", "info")
"""Worst first."""
_SEVERITY_TONES = {"critical": "critical", "warning": "warning", "info": "accent"}


def state_look(state: str) -> Look:
    """How the badge of a run's state looks."""
    return _STATES.get(state, Look("neutral", "info"))


def severity_tone(severity: str) -> str:
    """The tone of an alert's severity."""
    return _SEVERITY_TONES.get(severity, "neutral")


def severity_icon(severity: str) -> str:
    """The shape of an alert's severity: octagon, triangle, circle."""
    return severity if severity in SEVERITIES else "info"


def progress_tone(state: str) -> str:
    """The tone of a progress bar."""
    return {"finished": "ok", "failed": "critical", "lost": "critical", "running": "accent"}.get(state, "neutral")


def kind_title(kind: str) -> str:
    """An alert's kind as its rule calls it; the words of the kind where no rule of this version has it."""
    return DETECTORS[kind].title if kind in DETECTORS else words(kind)


def words(name: str) -> str:
    """A name of the catalogue as a title: language_model, Language model."""
    return name.replace("_", " ").capitalize()
