"""Learning-rate schedules (brief section 10): pure functions of the step."""

import math

from gyrostat.spec.schedules import Constant, Cosine, LinearWarmup, Schedule
from trainer.stabilizers.registry import Registry

SCHEDULES: Registry[float] = Registry("schedule")


def factor(settings: Schedule, step: int, total_steps: int) -> float:
    """The factor on the optimizer's learning rate at `step`.

    `step` counts the optimizer steps done before: 0 at the first. At `total_steps`, the whole run's, and beyond it the
    schedule stays at its end.
    """
    warmup = settings.warmup
    if warmup is not None and step < warmup.steps:
        return SCHEDULES.of(warmup)(warmup, step)
    done = 0 if warmup is None else warmup.steps
    return SCHEDULES.of(settings)(settings, step - done, total_steps - done)


@SCHEDULES.implements(LinearWarmup)
def linear_warmup(settings: LinearWarmup, step: int) -> float:
    """The factor s + (1 − s)·t/T (Goyal et al. 2017, arXiv 1706.02677, section 2.2)."""
    start = settings.start_factor
    return start + (1 - start) * step / settings.steps


@SCHEDULES.implements(Constant)
def constant(settings: Constant, step: int, total_steps: int) -> float:
    """1."""
    return 1.0


@SCHEDULES.implements(Cosine)
def cosine(settings: Cosine, step: int, total_steps: int) -> float:
    """The factor f + (1 − f)·(1 + cos(π·t/T))/2 (Loshchilov and Hutter 2016, arXiv 1608.03983, eq. 5).

    The last step, t = T − 1, is thus just above f, and still moves the weights where f is 0.
    """
    final, part = settings.final_factor, min(1.0, step / max(1, total_steps))
    return final + (1 - final) * (1 + math.cos(math.pi * part)) / 2
