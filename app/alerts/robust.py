"""A window of recent values whose centre and spread no single value can move."""

import math
from typing import NamedTuple

import msgspec

NORMAL_IQR = 1.349
"""Interquartile range of the standard normal distribution: range / 1.349 estimates its standard deviation."""


class Baseline(NamedTuple):
    """Median, and the standard deviation estimated from the interquartile range."""

    median: float
    sigma: float
    spread: float
    """Upper over lower quartile; 1 where a value is not positive."""

    def beyond(self, sigmas: float) -> float:
        """The value so many standard deviations up, in linear or in logarithmic scale, whichever is further.

        Losses near zero scatter by factors, not by amounts: in linear scale their tail would be full of outliers.
        """
        with_factor = self.median * self.spread ** min(sigmas / NORMAL_IQR, 50.0) if self.spread < 1e6 else math.inf
        return max(self.median + sigmas * self.sigma, with_factor)


class Window(msgspec.Struct):
    """The newest values, oldest first. Only finite values may enter."""

    values: list[float] = msgspec.field(default_factory=list)

    def __len__(self) -> int:
        return len(self.values)

    def add(self, value: float, size: int) -> None:
        """Appends `value` and drops the oldest beyond `size`."""
        self.values.append(value)
        if len(self.values) > size:
            del self.values[: len(self.values) - size]

    def baseline(self) -> Baseline:
        """Of a window that is not empty."""
        return baseline(self.values)


def median(values: list[float]) -> float:
    """The middle value, or the mean of the two."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return (ordered[last // 2] + ordered[(last + 1) // 2]) / 2


def baseline(values: list[float]) -> Baseline:
    """Median and robust spread of values that are not none; O(n log n) on some hundred values, with no array made."""
    ordered = sorted(values)
    last = len(ordered) - 1
    low, high = ordered[round(last * 0.25)], ordered[round(last * 0.75)]
    middle = (ordered[last // 2] + ordered[(last + 1) // 2]) / 2
    return Baseline(middle, (high - low) / NORMAL_IQR, high / low if low > 0 else 1.0)
