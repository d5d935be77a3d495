"""The form of a new run: which fields of the spec it shows; their texts and ranges come from the spec's own schema."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from app.services import catalogue


class Field(NamedTuple):
    """One input. `kind`: number, text, or variant (a choice that replaces what it chooses)."""

    path: str
    label: str
    hint: str
    kind: str
    choices: tuple[tuple[str, str], ...] = ()
    default: str = ""


class Group(NamedTuple):
    """Fields under one heading."""

    title: str
    fields: tuple[Field, ...]


_GROUPS: dict[str, dict[str, str]] = {
    "Training": {
        "steps": "Steps",
        "seed": "Seed",
        "data.batch_size": "Batch size",
        "optimizer.kind": "Optimizer",
        "optimizer.learning_rate": "Learning rate",
        "optimizer.weight_decay": "Weight decay",
        "schedule.kind": "Schedule",
        "gradients.clip.kind": "Clipping",
    },
    "Network": {
        "task.dataset.kind": "Data set",
        "model.kind": "Model",
        "model.depth": "Depth",
        "model.width": "Width",
        "model.norm.kind": "Normalization",
        "model.activation.kind": "Activation",
        "model.connection.kind": "Connection",
        "init.kind": "Initialization",
    },
}
"""Heading -> path in the spec -> label. A spec holds much more; the JSON beside the form shows all of it."""


@cache
def groups() -> tuple[Group, ...]:
    """The form, group by group."""
    return tuple(
        Group(title, tuple(_field(path, label) for path, label in paths.items())) for title, paths in _GROUPS.items()
    )


def _field(path: str, label: str) -> Field:
    schemas = list(_at(path.split(".")))
    if not schemas:
        raise LookupError(f"the spec has no {path!r}; correct the form's list of fields")
    if path.endswith(".kind"):
        kinds = dict.fromkeys(schema["const"] for schema in schemas if "const" in schema)
        parents = list(_at(path.split(".")[:-1]))
        nullable = any(_is_null(option) for parent in parents for option in parent.get("anyOf", [parent]))
        choices = (
            ("", "default"),
            *((("none", "none"),) if nullable else ()),
            *((kind, _words(kind)) for kind in kinds),
        )
        return Field(path, label, _hint(parents), "variant", choices)
    numeric = any(schema.get("type") in ("number", "integer") for schema in schemas)
    bounds = {_bounds(schema) for schema in schemas}
    limits = f" {bounds.pop()}." if len(bounds) == 1 and "" not in bounds else ""
    return Field(path, label, f"{_hint(schemas)}{limits}", "number" if numeric else "text", (), _default(schemas))


def _at(parts: list[str]) -> Iterator[Mapping[str, Any]]:
    """Every schema that may stand at a path; several where a part is a union of kinds."""
    here: list[Mapping[str, Any]] = [catalogue.spec_schema()]
    for part in parts:
        here = [
            found for schema in here for option in _options(schema) if (found := option.get("properties", {}).get(part))
        ]
    yield from here


def _options(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if "$ref" in schema:
        yield from _options(catalogue.spec_schema()["$defs"][schema["$ref"].rpartition("/")[2]])
    elif "oneOf" in schema or "anyOf" in schema:
        for option in schema.get("oneOf", []) + schema.get("anyOf", []):
            yield from _options(option)
    else:
        yield schema


def _default(schemas: list[Mapping[str, Any]]) -> str:
    """The default where all kinds agree on it."""
    defaults = {schema.get("default") for schema in schemas}
    only = defaults.pop() if len(defaults) == 1 else None
    return "" if only is None else f"{only}"


def _is_null(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "null"


def _hint(schemas: list[Mapping[str, Any]]) -> str:
    texts = list(dict.fromkeys(str(schema["description"]) for schema in schemas if schema.get("description")))
    return texts[0] if len(texts) == 1 else ""


def _bounds(schema: Mapping[str, Any]) -> str:
    return bounds(schema).capitalize()


def bounds(schema: Mapping[str, Any]) -> str:
    """The range of a JSON schema in words; empty where it has none."""
    for option in _options(schema):
        if option.get("enum"):
            return " or ".join(map(str, option["enum"]))
        low = next((f"{word} {_amount(option[key])}" for key, word in _LOW.items() if key in option), "")
        high = next((f"{word} {_amount(option[key])}" for key, word in _HIGH.items() if key in option), "")
        if low or high:
            return " and ".join(part for part in (low, high) if part)
    return ""


_LOW = {"minimum": "at least", "exclusiveMinimum": "above"}
_HIGH = {"maximum": "at most", "exclusiveMaximum": "below"}


def _amount(value: float) -> str:
    return f"{value:,}" if float(value).is_integer() and abs(value) < 1e6 else f"{value:.4g}".replace("e+0", "e")


def _words(kind: str) -> str:
    return kind.replace("_", " ")
