"""Optimizer, schedule and weight decay against each other, and steps that are unusually long."""

from collections.abc import Iterator

from gyrostat.spec.architectures import Transformer
from gyrostat.spec.checks.problem import Problem
from gyrostat.spec.normalization import BatchNorm
from gyrostat.spec.optimizers import Sam, ScheduleFree
from gyrostat.spec.run import RunSpec
from gyrostat.spec.schedules import Constant, CosineWarmRestarts, LinearWarmup, OneCycle


def problems(spec: RunSpec) -> Iterator[Problem]:
    """What cannot be trained."""
    yield from _schedule_problems(spec)
    yield from _average_problems(spec)
    yield from _decay_problems(spec)


def warnings(spec: RunSpec) -> Iterator[Problem]:
    """What is expected to go wrong."""
    yield from _rate_warnings(spec)
    yield from _schedule_warnings(spec)
    if isinstance(spec.optimizer, ScheduleFree) and isinstance(spec.model.norm, BatchNorm):
        yield Problem(
            path="model.norm.kind",
            value="batch",
            message="optimizer.kind 'schedule_free' validates with averaged weights, and the running statistics of "
            "batch normalization are those of the weights before averaging",
            mend="norm 'group' or 'layer', or another optimizer",
        )


def _schedule_problems(spec: RunSpec) -> Iterator[Problem]:
    schedule = spec.schedule
    warmup = schedule.warmup
    if isinstance(schedule, OneCycle) and warmup is not None:
        yield Problem(
            path="schedule.warmup",
            value=warmup.kind,
            message="schedule.kind 'one_cycle' begins with a warmup of its own (schedule.rise)",
            mend="leave schedule.warmup out, or take schedule 'cosine' with it",
        )
    elif warmup is not None and warmup.steps >= spec.steps:
        yield Problem(
            path="schedule.steps" if isinstance(schedule, LinearWarmup) else "schedule.warmup.steps",
            value=warmup.steps,
            message=f"warmup of {warmup.steps} steps does not end within the run's {spec.steps}",
            mend=f"fewer than {spec.steps}; a tenth of the run is usual",
        )
    if isinstance(spec.optimizer, ScheduleFree) and not isinstance(schedule, Constant | LinearWarmup):
        yield Problem(
            path="schedule.kind",
            value=schedule.kind,
            message=f"optimizer.kind 'schedule_free' averages in place of a rate that falls, as {schedule.kind!r} does",
            mend="schedule 'constant' (with schedule.warmup) or 'linear_warmup', or another optimizer",
        )


def _average_problems(spec: RunSpec) -> Iterator[Problem]:
    if isinstance(spec.optimizer, ScheduleFree) and spec.lipschitz.weight_clip is not None:
        yield Problem(
            path="lipschitz.weight_clip",
            value=spec.lipschitz.weight_clip.kind,
            message="optimizer.kind 'schedule_free' computes the weights of each step from two sequences of its own, "
            "which lipschitz.weight_clip does not bound",
            mend="lipschitz.gradient_penalty or a spectral parametrization, or another optimizer",
        )


def _decay_problems(spec: RunSpec) -> Iterator[Problem]:
    decay = spec.regularization.weight_decay
    nested = isinstance(spec.optimizer, Sam)
    own = spec.optimizer.base if isinstance(spec.optimizer, Sam) else spec.optimizer
    if decay is not None and own.weight_decay != type(own).model_fields["weight_decay"].default:
        path = "optimizer.base.weight_decay" if nested else "optimizer.weight_decay"
        yield Problem(
            path=path,
            value=own.weight_decay,
            message=f"both {path} and regularization.weight_decay say how fast weights decay",
            mend=f"leave {path} out; regularization.weight_decay replaces it",
        )


def _rate_warnings(spec: RunSpec) -> Iterator[Problem]:
    rate, usual, kind = spec.optimizer.learning_rate, spec.optimizer.high_rate, spec.optimizer.kind
    if rate > usual:
        yield Problem(
            path="optimizer.base.learning_rate" if kind == "sam" else "optimizer.learning_rate",
            value=rate,
            message=f"{rate:g} is high for {kind}: most nets diverge above about {usual:g}",
            mend="a smaller rate, or schedule.warmup and gradients.clip",
        )


def _schedule_warnings(spec: RunSpec) -> Iterator[Problem]:
    schedule = spec.schedule
    rises = schedule.warmup is not None or isinstance(schedule, OneCycle)
    if isinstance(spec.model, Transformer) and not rises and spec.optimizer.learning_rate >= 1e-3:
        yield Problem(
            path="schedule.warmup",
            value=None,
            message="a transformer without warmup often diverges in its first steps (brief, section 10)",
            mend=f"schedule.warmup {{'kind': 'linear_warmup', 'steps': {max(1, spec.steps // 10)}}}",
        )
    if isinstance(schedule, CosineWarmRestarts):
        done = 0 if schedule.warmup is None else schedule.warmup.steps
        if schedule.period >= spec.steps - done:
            yield Problem(
                path="schedule.period",
                value=schedule.period,
                message=f"a first cycle of {schedule.period} steps does not end within the run's {spec.steps}: "
                "it never restarts",
                mend=f"fewer than {spec.steps - done}, or schedule 'cosine'",
            )
