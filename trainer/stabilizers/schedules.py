"""Learning-rate schedules (brief section 10): pure functions of the step."""

import math

from gyrostat.spec.schedules import (
    Constant,
    Cosine,
    CosineWarmRestarts,
    LinearWarmup,
    OneCycle,
    Schedule,
    WarmupStableDecay,
)
from trainer.stabilizers.registry import Registry

SCHEDULES: Registry[float] = Registry("schedule")


def factor(settings: Schedule, step: int, total_steps: int) -> float:
    """The factor on the optimizer's learning rate at `step`.

    `step` counts the optimizer steps done before: 0 at the first. At `total_steps`, the whole run's, and beyond it the
    schedule stays at its end; but for warm restarts, which go on.
    """
    warmup = settings.warmup
    if warmup is not None and step < warmup.steps:
        return linear_warmup(warmup, step, total_steps)
    done = 0 if warmup is None or warmup is settings else warmup.steps
    return SCHEDULES.of(settings)(settings, step - done, total_steps - done)


@SCHEDULES.implements(LinearWarmup)
def linear_warmup(settings: LinearWarmup, step: int, total_steps: int) -> float:
    """The factor s + (1 − s)·t/T until T, then 1 (Goyal et al. 2017, arXiv 1706.02677, section 2.2)."""
    start = settings.start_factor
    return start + (1 - start) * min(1.0, step / settings.steps)


@SCHEDULES.implements(Constant)
def constant(settings: Constant, step: int, total_steps: int) -> float:
    """1."""
    return 1.0


@SCHEDULES.implements(Cosine)
def cosine(settings: Cosine, step: int, total_steps: int) -> float:
    """The factor f + (1 − f)·(1 + cos(π·t/T))/2 (Loshchilov and Hutter 2016, arXiv 1608.03983, eq. 5).

    The last step, t = T − 1, is thus just above f, and still moves the weights where f is 0.
    """
    return _half_cosine(1.0, settings.final_factor, step / max(1, total_steps))


@SCHEDULES.implements(CosineWarmRestarts)
def cosine_warm_restarts(settings: CosineWarmRestarts, step: int, total_steps: int) -> float:
    """The factor f + (1 − f)·(1 + cos(π·tᵢ/Tᵢ))/2 of the cycle that `step` is in (same paper, eq. 5)."""
    since, period = step, settings.period
    if settings.multiplier == 1:
        since %= period
    while since >= period:
        since -= period
        period *= settings.multiplier
    return _half_cosine(1.0, settings.final_factor, since / period)


@SCHEDULES.implements(OneCycle)
def one_cycle(settings: OneCycle, step: int, total_steps: int) -> float:
    """From s to 1 at t = r·T − 1, then to f at t = T − 1 (Smith and Topin 2017, arXiv 1708.07120, section 2).

    Half cosines in place of the paper's lines, as torch's OneCycleLR has them. Where r·T is at most one step, it begins
    at 1.
    """
    top, last = settings.rise * total_steps - 1, total_steps - 1
    if step < top:
        return _half_cosine(settings.start_factor, 1.0, step / top)
    top = max(0.0, top)
    return _half_cosine(1.0, settings.final_factor, (step - top) / (last - top) if last > top else 0.0)


@SCHEDULES.implements(WarmupStableDecay)
def warmup_stable_decay(settings: WarmupStableDecay, step: int, total_steps: int) -> float:
    """1, and over the last share d of the steps f + (1 − f)·(1 − √u) or f + (1 − f)·(1 − u), u from 0 to 1.

    Sources: Hu et al. 2024, arXiv 2404.06395, section 4; Hägele et al. 2024, arXiv 2405.18392, section 3.
    """
    falling = settings.decay * total_steps
    part = min(1.0, max(0.0, (step - (total_steps - falling)) / max(falling, 1e-9)))
    final = settings.final_factor
    return final + (1 - final) * (1 - (math.sqrt(part) if settings.shape == "sqrt" else part))


def _half_cosine(start: float, end: float, part: float) -> float:
    """From `start`, level, to `end`, level, as `part` goes from 0 to 1; beyond it stays."""
    return end + (start - end) * (1 + math.cos(math.pi * min(1.0, part))) / 2
