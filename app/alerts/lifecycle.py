"""The life of a rule's one alert on a run: inactive, pending, open, and inactive again when it has been quiet.

    inactive --breached--> pending --breached for `hold` evaluations--> open --clean for `quiet` evaluations--> inactive
                              |--clean--> inactive

An evaluation that says nothing changes nothing. The model is Prometheus' `for` and `keep_firing_for`, counted in
evaluations instead of seconds, since a paused run must not resolve its alerts.
"""

from typing import Literal

import msgspec

from app.alerts.model import ChangeKind, Verdict
from gyrostat.spec.run import Severity

RANKS: dict[Severity, int] = {"info": 0, "warning": 1, "critical": 2}
NEW_NAMES_AFTER = 20
"""Evaluations between two updates that only name further layers."""
REFRESH_AFTER = 500
"""Evaluations after which an alert that goes on is told again, with its newest numbers."""


class Life(msgspec.Struct, frozen=True, kw_only=True):
    """Where a rule's alert stands.

    Attributes:
        breached, clean: evaluations in a row.
        onset_step: where it began.
        severity, names: as last told.
        untold: breached evaluations since the last change that was told.
    """

    phase: Literal["inactive", "pending", "open"] = "inactive"
    breached: int = 0
    clean: int = 0
    onset_step: int | None = None
    severity: Severity = "info"
    names: tuple[str, ...] = ()
    untold: int = 0


def advance(
    life: Life, verdict: Verdict, step: int, *, severity: Severity, hold: int, quiet: int
) -> tuple[Life, ChangeKind | None]:
    """The life after one verdict, and what is to be told of it.

    `severity` is what the alert shall have, the verdict's own view included; `hold` and `quiet` are evaluations before
    opening and before resolving, at least 1.
    """
    if not verdict.breached:
        return _after_clean(life, quiet)
    onset = verdict.onset_step if verdict.onset_step is not None else life.onset_step
    breached = life.breached + 1
    now = msgspec.structs.replace(life, breached=breached, clean=0, onset_step=step if onset is None else onset)
    if life.phase != "open":
        if breached < hold:
            return msgspec.structs.replace(now, phase="pending"), None
        return _told(now, severity, verdict.names), "opened"
    now = msgspec.structs.replace(now, untold=life.untold + 1)
    if _matters(now, severity, verdict.names):
        worst = max(severity, life.severity, key=RANKS.__getitem__)
        return _told(now, worst, verdict.names or life.names), "updated"
    return now, None


def _after_clean(life: Life, quiet: int) -> tuple[Life, ChangeKind | None]:
    if life.phase != "open":
        return Life(), None
    clean = life.clean + 1
    if clean >= quiet:
        return Life(), "resolved"
    return msgspec.structs.replace(life, clean=clean, breached=0), None


def _told(life: Life, severity: Severity, names: tuple[str, ...]) -> Life:
    return msgspec.structs.replace(life, phase="open", severity=severity, names=names, untold=0)


def _matters(life: Life, severity: Severity, names: tuple[str, ...]) -> bool:
    if RANKS[severity] > RANKS[life.severity] or (names and not life.names):
        return True
    further = not set(names) <= set(life.names)
    return life.untold >= (NEW_NAMES_AFTER if further else REFRESH_AFTER)
