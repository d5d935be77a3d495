"""Which metric has which reference, and which has none for what reason."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gyrostat.doctor.moment import Moment
from gyrostat.spec.metrics import METRICS

DEVIATIONS = 4.0
"""An estimate of random samples may differ by so many of the standard errors that it states."""


@dataclass(frozen=True, kw_only=True)
class Between:
    """Where an estimate may lie, or an error that is stated: from what it cannot be less than, to what it may be."""

    low: float
    high: float

    @property
    def largest(self) -> float:
        """Of the two magnitudes, which errors are relative to."""
        return max(abs(self.low), abs(self.high))

    def distance(self, value: float) -> float:
        """How far the value is outside; 0 within, NaN where something is."""
        outside = self.low - value, value - self.high
        return math.nan if any(math.isnan(each) for each in outside) else max(0.0, *outside)


Wanted = float | Between
Values = Mapping[str, Wanted] | Wanted | None
"""By name along the metric's axis, one on axis `run`; None and names that are missing: absent."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """How a metric is formed the slow way.

    Attributes:
        error: relative error that the probe's own estimate may have; 0 where it is exact.
        floor: values are compared relative to at least this share of the largest one along the axis, and to at least
            `least` at all: differences of nearly equal numbers have no relative precision.
    """

    measure: Callable[[Moment], Values]
    error: float = 0.0
    floor: float = 1e-3
    least: float = 1e-12


REFERENCES: dict[str, Reference] = {}

WITHOUT: dict[str, str] = {}
"""Metrics of probes that have no reference here, with the reason."""


def reference(
    metric: str, *, error: float = 0.0, floor: float = 1e-3, least: float = 1e-12
) -> Callable[[Callable[[Moment], Values]], Callable[[Moment], Values]]:
    """Registers a function as the slow way to a metric."""

    def register(measure: Callable[[Moment], Values]) -> Callable[[Moment], Values]:
        if metric not in METRICS or metric in REFERENCES:
            raise TypeError(f"{metric!r} is no metric of the catalogue, or has a reference already")
        REFERENCES[metric] = Reference(measure=measure, error=error, floor=floor, least=least)
        return measure

    return register
