"""Random documents over the whole space of specs, drawn from the settings themselves.

Whatever enters a union of the spec is drawn from then on; nothing here names a technique. Sizes are kept tiny by the
names of their fields, and rates of learning and noise low enough that two steps of training stay finite.
"""

import math
import random
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gyrostat.spec.catalogue import STABILIZERS, merge_patch
from gyrostat.spec.data import DATASETS
from gyrostat.spec.parse import SpecError, parse
from gyrostat.spec.run import RunSpec
from gyrostat.spec.tasks import Task
from trainer.data.datasets import available

Document = dict[str, Any]

HERE = frozenset(available())
"""Kinds of data sets that this machine has: Fashion-MNIST is there where its package is installed."""

STEPS = 3
OPTIONAL = 0.3
"""How often a part that may be left out is there."""

CAPS: dict[str, tuple[float, float]] = {
    "depth": (1, 4),
    "width": (4, 16),
    "stages": (1, 2),
    "heads": (1, 4),
    "groups": (1, 4),
    "growth": (2, 6),
    "batch_size": (2, 12),
    "sequence_length": (2, 12),
    "limit": (200, 400),
    "rows": (100, 300),
    "size": (8, 16),
    "length": (3, 8),
    "timesteps": (4, 20),
    "latent": (1, 8),
    "levels": (1, 2),
    "every": (1, 3),
    "max_batches": (1, 2),
    "max_products": (2, 4),
    "max_iterations": (1, 5),
    "keep": (2, 4),
    "learning_rate": (1e-5, 1e-3),
    "max_factor": (1, 4),
    "factor": (0.5, 2),
    "gain": (0.5, 1.5),
    "eps": (1e-8, 1e-4),
    "sigma": (0, 0.3),
    "eta": (0, 0.1),
    "rho": (1e-3, 0.1),
    "weight_decay": (0, 0.1),
    "rate": (0, 0.5),
    "weight": (0, 1),
    "beta": (0, 0.99),
    "steps": (1, 2),
    "period": (1, 3),
    "temperature": (0.1, 4),
    "power_iterations": (1, 3),
    "max_norm": (0.5, 1.5),
    "bound": (0.1, 1),
    "validation_fraction": (0.2, 0.5),
    "ratio": (2, 20),
    "channels": (1, 3),
    "classes": (2, 4),
}
"""Range of a number by the name of its field, within the field's own bounds."""

LEFT_OUT = {"task", "dataset", "rules", "threads", "distributed", "budget"}
"""Fields that the drawing leaves alone; task and data set are drawn by themselves, and ranks have their own tests."""


def drawn(seed: int, *, holding: str | None = None, also: Document | None = None, tries: int = 20_000) -> Document:
    """A valid document, the same for the same seed.

    With `holding` it holds that technique; the merge patch `also` is applied to whatever is drawn.

    Raises:
        AssertionError: no valid document was found, so that space is empty or nearly so.
    """
    source = random.Random(seed)
    for _ in range(tries):
        document = _mended(merge_patch(_document(source, holding), also or {}), source)
        if document is not None and merge_patch(document, also or {}) == document and _holds(document, holding):
            return document
    raise AssertionError(f"no valid spec that holds {holding} in {tries} tries with seed {seed}")


def anything(seed: int) -> Document:
    """A document that may be valid or not, the same for the same seed."""
    return _document(random.Random(seed), None)


def _document(source: random.Random, holding: str | None) -> Document:
    wanted = None if holding is None else STABILIZERS[holding]
    document: Document = {"task": _task(source), **_model(RunSpec, source, wanted)}
    document["steps"] = STEPS
    document["checkpoints"] = {"every": 1, "keep": 10}
    document["validation"] = {"every": 2, "max_batches": 1}
    # most of a test's time would go into eigenvalues, which have tests of their own
    curvature = {"max_products": 3, "batch_size": 4, "enabled": source.random() < 0.4}
    document["probes"] = {**document.get("probes", {}), "curvature": curvature}
    return document


def _task(source: random.Random) -> Document:
    (kinds, *_) = get_args(Task)
    chosen = source.choice(get_args(kinds))
    task: Document = _model(chosen, source, None)
    fitting = [
        dataset
        for kind, dataset in DATASETS.items()
        if kind in HERE
        and task["kind"] in dataset.entry.tasks
        and not any(f.is_required() for f in dataset.model_fields.values())
    ]
    if "dataset" in chosen.model_fields:
        task["dataset"] = _model(source.choice(fitting), source, None)
    return task


def _model(settings: type[BaseModel], source: random.Random, wanted: type[BaseModel] | None) -> Document:
    document: Document = {}
    for name, field in settings.model_fields.items():
        if name == "kind":
            document["kind"] = field.default
        elif name not in LEFT_OUT and (field.is_required() or name in SMALL or _chosen(field, source, wanted)):
            document[name] = _value(field.annotation, field, name, source, wanted)
    return document


SMALL = {
    "depth",
    "width",
    "batch_size",
    "limit",
    "learning_rate",
    "rows",
    "size",
    "timesteps",
    "sequence_length",
    "steps",
    "base",
}
"""Fields whose defaults are too large or too fast for a test, and so are always drawn."""


def _chosen(field: FieldInfo, source: random.Random, wanted: type[BaseModel] | None) -> bool:
    if wanted is not None and wanted in _reachable(field.annotation):
        return source.random() < 0.9
    return source.random() < OPTIONAL


def _value(
    annotation: Any, field: FieldInfo | None, name: str, source: random.Random, wanted: type[BaseModel] | None
) -> Any:
    if get_origin(annotation) is Annotated:
        return _value(get_args(annotation)[0], field, name, source, wanted)
    if get_origin(annotation) in (Union, types.UnionType):
        return _member(get_args(annotation), field, name, source, wanted)
    if get_origin(annotation) is Literal:
        return source.choice(get_args(annotation))
    if get_origin(annotation) in (list, tuple):
        parts = [_value(get_args(annotation)[0], None, name, source, wanted) for _ in range(source.randint(1, 2))]
        return parts
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _model(annotation, source, wanted)
    if annotation is bool:
        return source.random() < 0.5
    if annotation in (int, float):
        return _number(annotation, field, name, source)
    raise TypeError(f"no way to draw a {annotation} for {name}; say how in tests/combinations/drawing.py")


def _member(
    members: tuple[Any, ...], field: FieldInfo | None, name: str, source: random.Random, wanted: type[BaseModel] | None
) -> Any:
    real = [member for member in members if member is not type(None)]
    leading = [member for member in real if wanted is not None and wanted in _reachable(member)]
    if leading and source.random() < 0.9:
        return _value(source.choice(leading), field, name, source, wanted)
    if len(real) < len(members) and source.random() < 0.2:
        return None
    return _value(source.choice(real), field, name, source, wanted)


def _number(kind: type, field: FieldInfo | None, name: str, source: random.Random) -> float:
    low, high = CAPS.get(name, (0.0, 8.0 if kind is int else 1.0))
    for bound in () if field is None else field.metadata:
        if isinstance(bound, Ge | Gt):
            low = max(low, float(bound.ge if isinstance(bound, Ge) else bound.gt))  # type: ignore[arg-type]
        elif isinstance(bound, Le | Lt):
            high = min(high, float(bound.le if isinstance(bound, Le) else bound.lt))  # type: ignore[arg-type]
    high = max(low, high)
    if kind is int:
        return source.randint(math.ceil(low), max(math.ceil(low), math.floor(high)))
    if low > 0 and high / low > 100:
        return math.exp(source.uniform(math.log(low), math.log(high)))
    return source.uniform(low, high)


def _reachable(annotation: Any) -> set[type[BaseModel]]:
    found: set[type[BaseModel]] = set()
    for settings in _models(annotation):
        if settings not in found:
            found |= {settings}
            for field in settings.model_fields.values():
                found |= _reachable(field.annotation)
    return found


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _mended(document: Document, source: random.Random, *, rounds: int = 8) -> Document | None:
    """The document without what its problems name, a required part of it drawn again; None where that does not help."""
    for _ in range(rounds):
        try:
            parse(document)
        except SpecError as error:
            for problem in error.problems:
                _redraw(document, problem.path.split("."), source)
        else:
            return document
    return None


def _redraw(document: Document, path: list[str], source: random.Random) -> None:
    section = path[0]
    if section == "model":
        document["model"] = _value(RunSpec.model_fields["model"].annotation, None, "model", source, None)
    elif section == "task":
        document["task"] = _task(source)
    elif len(path) > 1 and path[1] != "kind" and isinstance(document.get(section), dict):
        document[section].pop(path[1], None)
    elif not RunSpec.model_fields[section].is_required():
        document.pop(section, None)


def _holds(document: Document, holding: str | None) -> bool:
    """Whether the valid document, written out, holds the technique."""
    return holding is None or any(isinstance(part, STABILIZERS[holding]) for part in parts(parse(document).spec))


def parts(spec: BaseModel) -> Iterator[BaseModel]:
    """The spec and every part of it."""
    yield spec
    for name in type(spec).model_fields:
        value = getattr(spec, name)
        for each in value if isinstance(value, list | tuple) else (value,):
            if isinstance(each, BaseModel):
                yield from parts(each)
