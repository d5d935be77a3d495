"""Tasks, models, batches and steps: what every spec is checked for."""

from collections.abc import Iterator

from gyrostat.spec.architectures import Fpn, ResNet, Transformer, UNet
from gyrostat.spec.catalogue import STABILIZERS
from gyrostat.spec.checks.problem import SATURATING, Problem, nearest_divisor
from gyrostat.spec.data import DATASETS
from gyrostat.spec.normalization import BatchNorm
from gyrostat.spec.run import RunSpec
from gyrostat.spec.width import Architecture


def problems(spec: RunSpec) -> Iterator[Problem]:
    """What cannot be trained."""
    yield from _task_problems(spec)
    yield from _model_problems(spec)
    yield from _loop_problems(spec)


def warnings(spec: RunSpec) -> Iterator[Problem]:
    """What is expected to go wrong."""
    yield from _depth_warnings(spec)


def _task_problems(spec: RunSpec) -> Iterator[Problem]:
    task, model = spec.task, spec.model
    entry = task.dataset.entry
    if task.kind not in entry.tasks:
        fitting = ", ".join(kind for kind, dataset in DATASETS.items() if task.kind in dataset.entry.tasks)
        yield Problem(
            path="task.dataset.kind",
            value=task.dataset.kind,
            message=f"data set {task.dataset.kind!r} is for {' and '.join(entry.tasks)}, not for {task.kind}",
            mend=f"choose one of {fitting}, or change task.kind to {entry.tasks[0]!r}",
        )
    architectures = [each for each in STABILIZERS.values() if issubclass(each, Architecture)]
    if task.kind not in model.tasks:
        fitting = ", ".join(
            repr(each.model_fields["kind"].default) for each in architectures if task.kind in each.tasks
        )
        yield Problem(
            path="model.kind",
            value=model.kind,
            message=f"model {model.kind!r} cannot train task {task.kind!r}",
            mend=f"use model.kind {fitting}, or task.kind {model.tasks[0]!r}",
        )
    elif model.images and entry.form == "table":
        yield Problem(
            path="model.kind",
            value=model.kind,
            message=f"model {model.kind!r} needs images, and {task.dataset.kind!r} is a table",
            mend="use model.kind 'mlp'",
        )


def _model_problems(spec: RunSpec) -> Iterator[Problem]:
    model = spec.model
    shape = spec.task.dataset.sample_shape()
    stages = getattr(model, "stages", 1)
    if shape is not None and len(shape) == 3 and min(shape[1:]) < 2 ** (stages - 1):
        yield Problem(
            path="model.stages",
            value=stages,
            message=f"{stages} stages halve a {shape[1]} x {shape[2]} image below one pixel",
            mend=f"at most {min(shape[1:]).bit_length()}",
        )
    if stages > max(1, model.depth):
        yield Problem(
            path="model.depth",
            value=model.depth,
            message=f"depth {model.depth} leaves some of the {stages} stages without a layer",
            mend=f"depth of at least {stages}, or fewer stages",
        )


def _loop_problems(spec: RunSpec) -> Iterator[Problem]:
    parts, batch = spec.accumulation.steps, spec.data.batch_size
    if batch % parts:
        yield Problem(
            path="accumulation.steps",
            value=parts,
            message=f"{parts} micro-batches do not divide data.batch_size {batch}",
            mend=f"{nearest_divisor(batch, parts)} is nearest",
        )
    if isinstance(spec.model.norm, BatchNorm) and batch // parts < 2:
        yield Problem(
            path="data.batch_size",
            value=batch,
            message="batch normalization needs at least 2 samples in a (micro-)batch to have a variance",
            mend="a larger batch, fewer micro-batches, or norm 'group' or 'layer'",
        )
    rows = spec.task.dataset.num_rows()
    if rows is not None:
        training = int(min(rows, spec.data.limit or rows) * (1 - spec.data.validation_fraction))
        if batch > training:
            yield Problem(
                path="data.batch_size",
                value=batch,
                message=f"a batch of {batch} is more than the {training} training samples",
                mend=f"at most {training}"
                if training
                else "a larger data.limit, or a smaller data.validation_fraction",
            )


def _depth_warnings(spec: RunSpec) -> Iterator[Problem]:
    model = spec.model
    skips = getattr(model, "connection", None) is not None
    layers = model.depth * (2 if isinstance(model, ResNet | Transformer | UNet | Fpn) else 1)
    saturating = model.activation.kind in SATURATING
    if not skips and model.norm is None and layers >= (6 if saturating else 20):
        yield Problem(
            path="model.depth",
            value=model.depth,
            message=f"{layers} layers of {model.activation.kind} without residual connections or normalization: "
            "gradients are expected to vanish (brief, sections 1 to 3)",
            mend=f"model.connection {_skipping(model.kind)!r}, model.norm, or fewer layers",
        )
    if saturating and spec.init is not None and spec.init.kind.startswith("he_"):
        yield Problem(
            path="init.kind",
            value=spec.init.kind,
            message=f"He initialization is derived for ReLU; {model.activation.kind} saturates under it",
            mend="'xavier_normal' or 'xavier_uniform'",
        )
    if isinstance(model.norm, BatchNorm) and spec.data.batch_size // spec.accumulation.steps < 8:
        yield Problem(
            path="model.norm.kind",
            value="batch",
            message=f"batch statistics of {spec.data.batch_size // spec.accumulation.steps} samples are noisy",
            mend="norm 'group' or 'layer', or (micro-)batches of 16 or more",
        )


def _skipping(kind: str) -> str:
    """The connection that an architecture is best given: its own, or a plain residual one."""
    return {"densenet": "dense", "highway_net": "highway"}.get(kind, "residual")
