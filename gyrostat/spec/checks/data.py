"""What is done to data, against what the data is."""

import math
from collections.abc import Iterator

from gyrostat.spec.augmentation import ColourJitter
from gyrostat.spec.checks.problem import Problem
from gyrostat.spec.datasets import Shapes
from gyrostat.spec.files import HuggingFace
from gyrostat.spec.run import RunSpec

MAX_GENERATED = 2**27
"""Values of a generated data set: half a gigabyte."""

MIXED_TASKS = ("classification", "regression")
"""Whose targets can be averaged."""

NOISED_TASKS = ("classification", "regression", "segmentation")
"""Whose inputs are samples as they are; the others draw noise, or views, of their own."""

SCORED_TASKS = {
    "loss": ("classification", "regression", "language_model"),
    "length": ("language_model",),
    "noise": ("classification", "regression", "segmentation"),
}
"""What each curriculum has a score for."""


def problems(spec: RunSpec) -> Iterator[Problem]:
    """What cannot be trained."""
    yield from _augmentation_problems(spec)
    yield from _mixing_problems(spec)
    yield from _curriculum_problems(spec)
    yield from _noise_problems(spec)
    yield from _size_problems(spec)
    yield from _column_problems(spec)


def _no_images(spec: RunSpec) -> str | None:
    """What the samples are instead of images; None for images, and where the user's file decides."""
    form = spec.task.dataset.entry.form
    return f"{spec.task.dataset.kind!r} is a {form}" if form in ("table", "text") else None


def _augmentation_problems(spec: RunSpec) -> Iterator[Problem]:
    shape = spec.task.dataset.sample_shape()
    for index, augmentation in enumerate(spec.data.augment):
        path = f"data.augment.{index}"
        if (instead := _no_images(spec)) is not None:
            yield Problem(
                path=f"{path}.kind",
                value=augmentation.kind,
                message=f"augmentation changes images, and task.dataset {instead}",
                mend="leave data.augment out" + ("; noise.input adds noise to tables" if "table" in instead else ""),
            )
        elif isinstance(augmentation, ColourJitter) and shape is not None and shape[0] != 3:
            for name in ("saturation", "hue"):
                if (value := getattr(augmentation, name)) > 0:
                    yield Problem(
                        path=f"{path}.{name}",
                        value=value,
                        message=f"{name} needs three channels, and images of task.dataset "
                        f"{spec.task.dataset.kind!r} have {shape[0]}",
                        mend=f"set {name} to 0; brightness and contrast act on any image",
                    )


def _mixing_problems(spec: RunSpec) -> Iterator[Problem]:
    mix, task = spec.data.mix, spec.task
    if mix is not None and task.kind not in MIXED_TASKS:
        yield Problem(
            path="data.mix.kind",
            value=mix.kind,
            message=f"{mix.kind} averages targets, and those of task.kind {task.kind!r} have no mean",
            mend=f"leave data.mix out, or use task.kind {' or '.join(MIXED_TASKS)}",
        )
    elif mix is not None and mix.kind == "cutmix" and (instead := _no_images(spec)) is not None:
        yield Problem(
            path="data.mix.kind",
            value=mix.kind,
            message=f"cutmix pastes a box of an image, and task.dataset {instead}",
            mend="use 'mixup'",
        )
    if spec.data.label_noise > 0 and task.kind != "classification":
        yield Problem(
            path="data.label_noise",
            value=spec.data.label_noise,
            message=f"label noise replaces classes, and the targets of task.kind {task.kind!r} are none",
            mend="set data.label_noise to 0, or use task.kind 'classification'",
        )


def _curriculum_problems(spec: RunSpec) -> Iterator[Problem]:
    curriculum, task = spec.data.curriculum, spec.task
    if curriculum is None:
        return
    shape = task.dataset.sample_shape()
    if task.kind not in SCORED_TASKS[curriculum.kind]:
        fitting = [kind for kind, tasks in SCORED_TASKS.items() if task.kind in tasks]
        yield Problem(
            path="data.curriculum.kind",
            value=curriculum.kind,
            message=f"a curriculum by {curriculum.kind} has no score for the samples of task.kind {task.kind!r}",
            mend=f"use {' or '.join(map(repr, fitting))}" if fitting else "leave data.curriculum out",
        )
    elif curriculum.kind == "noise" and (instead := _no_images(spec)) is not None:
        yield Problem(
            path="data.curriculum.kind",
            value=curriculum.kind,
            message=f"a curriculum by noise measures images, and task.dataset {instead}",
            mend="use 'loss'",
        )
    elif curriculum.kind == "noise" and shape is not None and min(shape[1:]) < 3:
        yield Problem(
            path="data.curriculum.kind",
            value=curriculum.kind,
            message=f"noise is measured on 3 x 3 pixels, and task.dataset has images of {shape[1]} x {shape[2]}",
            mend="use 'loss', or larger images",
        )
    if curriculum.steps is not None and curriculum.steps >= spec.steps:
        yield Problem(
            path="data.curriculum.steps",
            value=curriculum.steps,
            message=f"a curriculum of {curriculum.steps} steps does not reach all data within the run's {spec.steps} "
            "steps",
            mend=f"fewer than {spec.steps}, or null for half of the run",
        )


def _noise_problems(spec: RunSpec) -> Iterator[Problem]:
    for name in ("multiplicative", "input"):
        if getattr(spec.noise, name) is not None and spec.task.kind not in NOISED_TASKS:
            yield Problem(
                path=f"noise.{name}",
                value=name,
                message=f"noise on inputs does not fit task.kind {spec.task.kind!r}, which has tokens or draws noise "
                "of its own",
                mend=f"leave noise.{name} out; use regularization.dropout, or one of {', '.join(NOISED_TASKS)}",
            )


def _size_problems(spec: RunSpec) -> Iterator[Problem]:
    dataset = spec.task.dataset
    if isinstance(dataset, Shapes) and (values := dataset.rows * math.prod(dataset.sample_shape())) > MAX_GENERATED:
        yield Problem(
            path="task.dataset.rows",
            value=dataset.rows,
            message=f"{dataset.rows} images with task.dataset.size {dataset.size} are {values:,} values, more than the "
            f"{MAX_GENERATED:,} that are generated",
            mend=f"at most {MAX_GENERATED // math.prod(dataset.sample_shape())}, or a smaller size",
        )


def _column_problems(spec: RunSpec) -> Iterator[Problem]:
    dataset = spec.task.dataset
    if isinstance(dataset, HuggingFace) and (dataset.text is not None) != (spec.task.kind == "language_model"):
        yield Problem(
            path="task.dataset.text",
            value=dataset.text,
            message=f"task.kind {spec.task.kind!r} "
            + ("needs the name of a column of text" if dataset.text is None else "does not learn from text"),
            mend="name the column" if dataset.text is None else "leave it out, or use task.kind 'language_model'",
        )
