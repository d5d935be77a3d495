"""When each probe is due: its own cadence, stretched so that all together keep to the budget. No clock, no torch."""

import math
from collections.abc import Collection, Mapping
from typing import Any

MAX_STRETCH = 10
"""A cadence is stretched by no more than this, whatever the probe costs: a chart with one point a run is worth nothing.

A probe that is still too dear then breaks the budget, and `probe.overhead` says so.
"""

_SMOOTHING = 0.5
"""Weight of the newest cost: the first measurement, from a cold start, is the dearest and is to be forgotten soon."""

_STEP_SMOOTHING = 0.05
_STEP_CLIP = 4.0
"""A step that took so many times the usual (validation, a checkpoint) counts as that many only."""


def stretches(
    costs: Mapping[str, float], every: Mapping[str, int], step_seconds: float, allowed: float
) -> dict[str, int]:
    """Factors on `every` with Σ cost/(every·factor) ≤ `allowed` seconds a step, as far as `MAX_STRETCH` lets them.

    Max-min fair: in rising order of cost per step, each probe gets what it needs or an equal share of what is left.
    Cheap probes so keep their cadence, and the dear ones share the rest.

    Args:
        costs: seconds of one measurement; probes without a known cost are not stretched.
        every: steps between measurements as set.
        step_seconds: time of a training step without probes; 0 or less stretches nothing.
        allowed: seconds a step that may be spent, 0 or more.
    """
    if step_seconds <= 0:
        return dict.fromkeys(costs, 1)
    factors: dict[str, int] = {}
    left = allowed
    order = sorted(costs, key=lambda name: costs[name] / every[name])
    for position, name in enumerate(order):
        load = costs[name] / every[name]
        share = left / (len(order) - position)
        # a rounding error must not cost a whole factor
        needed = math.ceil(load / share - 1e-9) if share > 0 else MAX_STRETCH
        factors[name] = min(MAX_STRETCH, max(1, needed))
        left = max(0.0, left - load / factors[name])
    return factors


class Schedule:
    """Decides what is due, from what it is told of costs.

    Without a budget, a probe is due exactly at step 1 and where `step % every == 0`. With one, everything is due at the
    first step that is seen (step 1, or the first after a resumption, when costs are of another process), and further on
    at multiples of `every` that are at least `every`·factor steps after the last measurement. The probes in `late` wait
    for their cadence from the start.
    """

    def __init__(self, every: Mapping[str, int], budget: float | None, *, late: Collection[str] = ()) -> None:
        self._every = dict(every)
        self._late = frozenset(late)
        self._budget = budget
        self._costs: dict[str, float] = {}
        self._fixed = 0.0
        self._step_seconds = 0.0
        self._last: dict[str, int] = {}
        self._factors: dict[str, int] = {}
        self._tight_until = 0
        self._newest = 0
        self._first = True

    @property
    def factors(self) -> dict[str, int]:
        """Present stretch of each probe; 1 where nothing is stretched."""
        return {name: self._factors.get(name, 1) for name in self._every}

    def due(self, step: int) -> list[str]:
        """Names of the probes to measure at `step`, in the order they were given."""
        first, self._first, self._newest = self._first, False, step
        everything = step == 1 or (first and self._budget is not None)
        tight = step <= self._tight_until
        due = [
            name
            for name, every in self._every.items()
            if (everything and name not in self._late) or self._is_due(name, every, step, tight)
        ]
        for name in due:
            self._last[name] = step
        return due

    def _is_due(self, name: str, every: int, step: int, tight: bool) -> bool:
        if tight:
            return step % max(1, every // 2) == 0
        if step % every:
            return False
        factor = self._factors.get(name, 1)
        if factor == 1:
            return True
        since = step - self._last.get(name, step - MAX_STRETCH * every)
        # a run that was rolled back is before its last measurement
        return since < 0 or since >= every * factor

    def drop(self, name: str) -> None:
        """The probe is never due again, and the others may have its share."""
        self._every.pop(name, None)
        self._costs.pop(name, None)

    def tighten(self, steps: int) -> None:
        """For so many further steps: half of `every`, nothing stretched, whatever the budget says."""
        self._tight_until = max(self._tight_until, self._newest + steps)

    def observe(self, step_seconds: float, fixed_seconds: float, costs: Mapping[str, float]) -> None:
        """A step took `step_seconds` without probes; `fixed_seconds` went into the session, `costs` into probes."""
        usual = self._step_seconds
        clipped = min(step_seconds, _STEP_CLIP * usual) if usual else step_seconds
        self._step_seconds = _smoothed(usual, clipped, _STEP_SMOOTHING)
        self._fixed = _smoothed(self._fixed, fixed_seconds, _STEP_SMOOTHING)
        for name, seconds in costs.items():
            if name in self._every:
                self._costs[name] = _smoothed(self._costs.get(name, 0.0), seconds, _SMOOTHING)
        if costs and self._budget is not None:
            allowed = max(0.0, self._budget * self._step_seconds - self._fixed)
            self._factors = stretches(self._costs, self._every, self._step_seconds, allowed)

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers: factors, costs, when each was last measured."""
        return {
            "factors": dict(self._factors),
            "costs": dict(self._costs),
            "fixed": self._fixed,
            "step_seconds": self._step_seconds,
            "last": dict(self._last),
            "tight_until": self._tight_until,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up `state_dict`; what belongs to probes that are not there is passed over."""
        self._factors = {name: factor for name, factor in state["factors"].items() if name in self._every}
        self._costs = {name: cost for name, cost in state["costs"].items() if name in self._every}
        self._last = {name: step for name, step in state["last"].items() if name in self._every}
        self._fixed = state["fixed"]
        self._step_seconds = state["step_seconds"]
        self._tight_until = state["tight_until"]


def _smoothed(old: float, new: float, weight: float) -> float:
    return old + weight * (new - old) if old else new
