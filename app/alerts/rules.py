"""Effective rules: every detector's defaults, changed by the operator, changed by the run."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from app.alerts import detectors as _registered  # noqa: F401  (importing it fills the registry)
from app.alerts.base import DETECTORS, Detector
from gyrostat.spec.checks import Problem
from gyrostat.spec.parse import described
from gyrostat.spec.run import RuleOverride, Severity

Overrides = Mapping[str, RuleOverride]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A detector with settings. `severity` is None where nobody changed it, so that verdicts may raise it."""

    kind: str
    enabled: bool
    severity: Severity | None
    detector: Detector

    @cached_property
    def settings(self) -> str:
        """The thresholds as text, by which changed ones are noticed."""
        return self.detector.model_dump_json()


def effective(*layers: Overrides) -> list[Rule]:
    """All rules in the catalogue's order. Later layers win; settings add up, the rest is replaced.

    Overrides that do not fit any more (a threshold was renamed since they were stored) leave the rule at its defaults,
    since a run must stay watched; `problems` finds them where they enter.
    """
    return [_rule(kind, [layer[kind] for layer in layers if kind in layer]) for kind in DETECTORS]


def problems(overrides: Overrides, path: str = "rules") -> list[Problem]:
    """Everything wrong with overrides: kinds and thresholds that do not exist, values out of range."""
    return [problem for kind, override in overrides.items() for problem in _problems_of(kind, override, path)]


def _rule(kind: str, overrides: list[RuleOverride]) -> Rule:
    settings: dict[str, Any] = {}
    severity: Severity | None = None
    enabled = True
    for override in overrides:
        enabled = override.enabled
        severity = override.severity or severity
        settings |= override.settings
    detector = DETECTORS[kind]
    try:
        made = detector.model_validate(settings)
    except ValidationError:
        made = detector()
    return Rule(kind=kind, enabled=enabled, severity=severity, detector=made)


def _problems_of(kind: str, override: RuleOverride, path: str) -> Iterator[Problem]:
    detector = DETECTORS.get(kind)
    if detector is None:
        close = difflib.get_close_matches(kind, DETECTORS, n=1)
        yield Problem(
            path=f"{path}.{kind}",
            value=kind,
            message=f"there is no alert rule {kind!r}",
            mend=(f"did you mean {close[0]!r}? " if close else "") + f"known: {', '.join(DETECTORS)}",
        )
        return
    try:
        detector.model_validate(override.settings)
    except ValidationError as error:
        for problem in described(error, detector):
            yield Problem(
                path=f"{path}.{kind}.settings.{problem.path}",
                value=problem.value,
                message=problem.message,
                mend=problem.mend,
            )
