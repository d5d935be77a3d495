"""Tasks, models, batches and steps: what every spec is checked for."""

from collections.abc import Iterator

from gyrostat.spec.architectures import Cnn, Mlp, ResNet, Transformer
from gyrostat.spec.checks.problem import SATURATING, Problem, nearest_divisor
from gyrostat.spec.data import DATASETS
from gyrostat.spec.normalization import BatchNorm
from gyrostat.spec.run import RunSpec


def problems(spec: RunSpec) -> Iterator[Problem]:
    """What cannot be trained."""
    yield from _task_problems(spec)
    yield from _model_problems(spec)
    yield from _loop_problems(spec)


def warnings(spec: RunSpec) -> Iterator[Problem]:
    """What is expected to go wrong."""
    yield from _depth_warnings(spec)
    yield from _step_warnings(spec)


def _task_problems(spec: RunSpec) -> Iterator[Problem]:
    task, model = spec.task, spec.model
    entry = type(task.dataset).entry
    if task.kind not in entry.tasks:
        fitting = ", ".join(kind for kind, dataset in DATASETS.items() if task.kind in dataset.entry.tasks)
        yield Problem(
            path="task.dataset.kind",
            value=task.dataset.kind,
            message=f"data set {task.dataset.kind!r} is for {' and '.join(entry.tasks)}, not for {task.kind}",
            mend=f"choose one of {fitting}, or change task.kind to {entry.tasks[0]!r}",
        )
    if task.kind in ("language_model", "sequence_to_sequence") and not isinstance(model, Transformer):
        yield Problem(
            path="model.kind",
            value=model.kind,
            message=f"model {model.kind!r} cannot train task {task.kind!r}",
            mend="use 'transformer' with language_model and sequence_to_sequence",
        )
    elif isinstance(model, Cnn | ResNet) and task.kind == "regression":
        yield Problem(
            path="model.kind",
            value=model.kind,
            message=f"model {model.kind!r} needs images, and {task.dataset.kind!r} is a table",
            mend="use model.kind 'mlp'",
        )


def _model_problems(spec: RunSpec) -> Iterator[Problem]:
    model = spec.model
    shape = type(spec.task.dataset).entry.shape
    if isinstance(model, Cnn | ResNet) and shape is not None and len(shape) == 3 and shape[1] < 2 ** (model.stages - 1):
        yield Problem(
            path="model.stages",
            value=model.stages,
            message=f"{model.stages} stages halve a {shape[1]} x {shape[2]} image below one pixel",
            mend=f"at most {shape[1].bit_length()}",
        )
    if isinstance(model, Cnn | ResNet) and model.depth < model.stages:
        yield Problem(
            path="model.depth",
            value=model.depth,
            message=f"depth {model.depth} leaves some of the {model.stages} stages without a layer",
            mend=f"depth of at least {model.stages}, or fewer stages",
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
    rows = type(spec.task.dataset).entry.rows
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
    warmup = spec.schedule.warmup
    if warmup is not None and warmup.steps >= spec.steps:
        yield Problem(
            path="schedule.warmup.steps",
            value=warmup.steps,
            message=f"warmup of {warmup.steps} steps does not end within the run's {spec.steps}",
            mend=f"fewer than {spec.steps}; a tenth of the run is usual",
        )


def _depth_warnings(spec: RunSpec) -> Iterator[Problem]:
    model = spec.model
    skips = isinstance(model, Mlp | ResNet | Transformer) and model.connection is not None
    layers = model.depth * (1 if isinstance(model, Mlp | Cnn) else 2)
    saturating = model.activation.kind in SATURATING
    if not skips and model.norm is None and layers >= (6 if saturating else 20):
        yield Problem(
            path="model.depth",
            value=model.depth,
            message=f"{layers} layers of {model.activation.kind} without residual connections or normalization: "
            "gradients are expected to vanish (brief, sections 1 to 3)",
            mend="model.connection 'residual', model.norm, or fewer layers",
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


def _step_warnings(spec: RunSpec) -> Iterator[Problem]:
    rate = spec.optimizer.learning_rate
    usual = 1.0 if spec.optimizer.kind == "sgd" else 0.01
    if rate > usual:
        yield Problem(
            path="optimizer.learning_rate",
            value=rate,
            message=f"{rate:g} is high for {spec.optimizer.kind}: most nets diverge above about {usual:g}",
            mend="a smaller rate, or schedule.warmup and gradients.clip",
        )
    if isinstance(spec.model, Transformer) and spec.schedule.warmup is None and rate >= 1e-3:
        yield Problem(
            path="schedule.warmup",
            value=None,
            message="a transformer without warmup often diverges in its first steps (brief, section 10)",
            mend=f"schedule.warmup {{'kind': 'linear_warmup', 'steps': {max(1, spec.steps // 10)}}}",
        )
