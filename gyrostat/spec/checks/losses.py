"""Which losses, and which additions to them, fit which tasks."""

from collections.abc import Iterator
from typing import get_args

from gyrostat.spec.checks.problem import Problem
from gyrostat.spec.losses import CLASS_TASKS, CrossEntropy, Focal, Loss
from gyrostat.spec.run import RunSpec

_LOSSES = get_args(get_args(Loss)[0])


def problems(spec: RunSpec) -> Iterator[Problem]:
    """What cannot be trained."""
    yield from _loss_problems(spec)
    yield from _negative_problems(spec)
    yield from _weight_problems(spec)
    yield from _addition_problems(spec)


def warnings(spec: RunSpec) -> Iterator[Problem]:
    """What is expected to go wrong."""
    if spec.task.kind == "contrastive" and (parts := _parts(spec)) > 1:
        path = "accumulation.steps" if spec.accumulation.steps > 1 else "distributed.ranks"
        yield Problem(
            path=path,
            value=parts,
            message=f"a contrastive loss (task.kind) has its negatives from a rank's micro-batch: {parts} of them "
            f"leave {spec.data.batch_size // parts} samples to tell apart instead of {spec.data.batch_size}",
            mend="one micro-batch on one rank, if it fits the device, or a larger data.batch_size",
        )


def _loss_problems(spec: RunSpec) -> Iterator[Problem]:
    task, loss = spec.task.kind, spec.loss
    if loss is None or task in loss.tasks:
        return
    fitting = [repr(each.model_fields["kind"].default) for each in _LOSSES if task in each.tasks]
    yield Problem(
        path="loss.kind",
        value=loss.kind,
        message=f"loss {loss.kind!r} does not fit task.kind {task!r}",
        mend=f"use {' or '.join(fitting)}, or leave loss out" if fitting else "leave loss out: the task has its own",
    )


def _parts(spec: RunSpec) -> int:
    """How many micro-batches a step's batch is cut into, those of all ranks together."""
    return spec.accumulation.steps * (1 if spec.distributed is None else spec.distributed.ranks)


def _negative_problems(spec: RunSpec) -> Iterator[Problem]:
    if spec.task.kind == "contrastive" and spec.data.batch_size // _parts(spec) < 2:
        yield Problem(
            path="data.batch_size",
            value=spec.data.batch_size,
            message="a contrastive loss (task.kind) tells samples of one micro-batch apart, and there is only one",
            mend=f"at least {2 * _parts(spec)}, or fewer micro-batches and ranks",
        )


def _weight_problems(spec: RunSpec) -> Iterator[Problem]:
    if not isinstance(spec.loss, CrossEntropy | Focal) or not isinstance(spec.loss.class_weights, list):
        return
    weights, task = len(spec.loss.class_weights), spec.task
    classes = task.dataset.num_outputs()
    if task.kind in ("language_model", "sequence_to_sequence"):
        yield Problem(
            path="loss.class_weights",
            value=weights,
            message=f"a list of weights has no order to go by among the tokens of task.kind {task.kind!r}",
            mend="use 'balanced', or null",
        )
    elif classes is not None and classes != weights:
        yield Problem(
            path="loss.class_weights",
            value=weights,
            message=f"{weights} weights for the {classes} classes of task.dataset {task.dataset.kind!r}",
            mend=f"give {classes} weights, or 'balanced'",
        )


def _addition_problems(spec: RunSpec) -> Iterator[Problem]:
    if spec.task.kind in CLASS_TASKS:
        return
    for name in ("label_smoothing", "confidence_penalty", "distillation"):
        chosen = getattr(spec.regularization, name)
        if chosen is not None:
            yield Problem(
                path=f"regularization.{name}",
                value=chosen.kind,
                message=f"{name} needs class probabilities, and task.kind {spec.task.kind!r} has none",
                mend=f"leave regularization.{name} out, or use one of {', '.join(CLASS_TASKS)}",
            )
