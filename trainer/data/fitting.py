"""Data as read, made to fit the task and the model that the spec names, or refused with the reason."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gyrostat.spec import checks
from gyrostat.spec.datasets import ReadDataset
from gyrostat.spec.run import RunSpec
from trainer.data.batches import Pool
from trainer.data.datasets import load
from trainer.data.samples import DataError, Labelled, Samples, prepare
from trainer.stabilizers import curriculum

MAX_CLASSES = 65_536
"""More are no classes but numbers."""


def fitted_samples(spec: RunSpec, data_root: Path | None) -> Samples:
    """The spec's samples, split and standardized.

    Raises:
        DataError: the data set cannot be had, or does not fit the spec's task, model or settings of data.
    """
    data = load(spec.task.dataset, data_root)
    if not isinstance(data, Labelled):
        raise DataError(f"task.dataset {spec.task.dataset.kind!r} holds text, and {spec.task.kind} learns from samples")
    data = fitted(data, spec)
    return prepare(
        data,
        seed=spec.seed,
        validation_fraction=spec.data.validation_fraction,
        limit=spec.data.limit,
        label_noise=spec.data.label_noise,
    )


def fitted(data: Labelled, spec: RunSpec) -> Labelled:
    """`data` with targets as the task wants them; all checks of the spec hold for what was really read.

    Raises:
        DataError: the data does not fit.
    """
    _finite(data.inputs, "inputs")
    if data.outputs == 0:
        data = _FITTED.get(spec.task.kind, _unlabelled)(data)
    read = ReadDataset(
        spec.task.dataset, shape=tuple(data.inputs.shape[1:]), outputs=data.outputs, rows=len(data.inputs)
    )
    # not validated anew: the named data set's class does not hold what was found
    task: Any = spec.task.model_copy(update={"dataset": read})
    found = checks.problems(spec.model_copy(update={"task": task}))
    if found:
        shape = " x ".join(map(str, data.inputs.shape))
        told = "; ".join(f"{each.path}: {each.message} ({each.mend})" for each in found)
        raise DataError(f"the data read from task.dataset {spec.task.dataset.kind!r} ({shape}) does not fit: {told}")
    return data


def sample_pool(spec: RunSpec, inputs: Tensor, targets: Tensor) -> Pool | None:
    """What the spec's curriculum lets each step draw from; None without one."""
    if (settings := spec.data.curriculum) is None:
        return None
    return _pool(spec, curriculum.sample_scores(settings, inputs, targets))


def window_pool(spec: RunSpec, tokens: Tensor) -> Pool | None:
    """As `sample_pool`, of the tokens that a window may start at."""
    if (settings := spec.data.curriculum) is None or len(tokens) <= spec.data.sequence_length:
        return None
    return _pool(spec, curriculum.window_scores(settings, tokens, spec.data.sequence_length))


def _pool(spec: RunSpec, scores: Tensor) -> Pool:
    settings = spec.data.curriculum
    assert settings is not None
    return Pool(
        scores,
        lambda step: curriculum.fraction(settings, step, spec.steps),
        at_least=min(spec.data.batch_size, len(scores)),
    )


def _classes(data: Labelled) -> Labelled:
    targets = data.targets
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if targets.ndim != 1:
        raise DataError(
            f"targets have shape {tuple(targets.shape)}, and classification wants one class number a sample"
        )
    return replace(data, targets=_numbered(targets), outputs=int(targets.max()) + 1)


def _masks(data: Labelled) -> Labelled:
    inputs, targets = data.inputs, data.targets
    if inputs.ndim != 4 or targets.shape != (len(inputs), *inputs.shape[2:]):
        raise DataError(
            f"inputs have shape {tuple(inputs.shape)} and targets {tuple(targets.shape)}; segmentation wants images "
            "(N, C, H, W) or (N, H, W) and masks (N, H, W)"
        )
    return replace(data, targets=_numbered(targets), outputs=int(targets.max()) + 1)


def _numbered(targets: Tensor) -> Tensor:
    """Class numbers as int64, each of them possible."""
    if targets.is_floating_point():
        _finite(targets, "targets")
        if not torch.equal(targets, targets.round()):
            raise DataError(
                "targets hold fractions, and classes are whole numbers from 0 on; use task.kind 'regression'"
            )
    if len(targets) == 0:
        raise DataError("there are no samples")
    numbers = targets.long()
    low, high = int(numbers.min()), int(numbers.max())
    if low < 0 or high >= MAX_CLASSES:
        place = int((numbers.flatten() < 0).long().argmax()) if low < 0 else int(numbers.flatten().argmax())
        raise DataError(
            f"class number {int(numbers.flatten()[place])} (entry {place} of the targets) is out of range: classes are "
            f"numbered from 0 on, below {MAX_CLASSES}; number them anew, or use task.kind 'regression'"
        )
    return numbers


def _numbers(data: Labelled) -> Labelled:
    targets = data.targets.double()
    targets = targets.unsqueeze(1) if targets.ndim == 1 else targets
    if targets.ndim != 2:
        raise DataError(f"targets have shape {tuple(targets.shape)}, and regression wants (N,) or (N, outputs)")
    _finite(targets, "targets")
    return replace(data, targets=targets, outputs=targets.shape[1])


def _unlabelled(data: Labelled) -> Labelled:
    """For tasks that learn from inputs: what the targets are says nothing."""
    if data.targets.ndim == 1 and not data.targets.is_floating_point():
        return _classes(data)
    return replace(data, targets=torch.zeros(len(data.inputs), dtype=torch.long), outputs=1)


_FITTED = {"classification": _classes, "segmentation": _masks, "regression": _numbers}


def _finite(values: Tensor, name: str) -> None:
    if values.is_floating_point() and not (finite := values.isfinite()).all():
        place = int((~finite.flatten(1).all(1) if values.ndim > 1 else ~finite).long().argmax())
        raise DataError(
            f"{name} of sample {place} (counted from 0) hold NaN or infinity, as do {int((~finite).sum())} values in "
            "all; mend them, or leave those samples out"
        )
