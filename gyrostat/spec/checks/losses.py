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
    yield from _weight_problems(spec)
    yield from _addition_problems(spec)


def warnings(spec: RunSpec) -> Iterator[Problem]:
    """What is expected to go wrong."""
    if spec.task.kind == "contrastive" and (parts := spec.accumulation.steps) > 1:
        yield Problem(
            path="accumulation.steps",
            value=parts,
            message=f"a contrastive loss (task.kind) has its negatives from the micro-batch: {parts} micro-batches "
            f"leave {spec.data.batch_size // parts} samples to tell apart instead of {spec.data.batch_size}",
            mend="one micro-batch, if it fits the device",
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
