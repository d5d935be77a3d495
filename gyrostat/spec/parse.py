"""From a user's JSON to a spec, or to a list of everything that is wrong with it."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from gyrostat.spec.checks import Problem, problems, warnings
from gyrostat.spec.run import RunSpec


class SpecError(ValueError):
    """A spec that cannot be trained; `problems` lists everything found, each with its path and mend."""

    def __init__(self, found: list[Problem]) -> None:
        self.problems = found
        super().__init__("; ".join(f"{p.path}: {p.message} ({p.mend})" for p in found))


@dataclass(frozen=True)
class Parsed:
    """A valid spec and what to think about before it is trained."""

    spec: RunSpec
    warnings: list[Problem]


def parse(document: object) -> Parsed:
    """The spec in `document` (JSON as Python objects).

    Raises:
        SpecError: with every problem, not only the first.
    """
    try:
        spec = RunSpec.model_validate(document)
    except ValidationError as error:
        raise SpecError(list(described(error, RunSpec))) from None
    if found := problems(spec):
        raise SpecError(found)
    return Parsed(spec, warnings(spec))


def described(error: ValidationError, model: type[BaseModel]) -> Iterator[Problem]:
    """Each of pydantic's complaints as a problem with a mend."""
    for detail in error.errors(include_url=False):
        path = ".".join(str(part) for part in _path(detail["loc"], detail["type"]))
        yield Problem(
            path=path or "(whole document)",
            value=_shown(detail["input"]) if detail["type"] != "missing" else None,
            message=detail["msg"],
            mend=_mend(detail, model),
        )


def _path(location: tuple[int | str, ...], kind: str) -> list[int | str]:
    # pydantic puts the chosen member of a union into the path: model.mlp.depth is the user's model.depth
    kept: list[int | str] = []
    for index, part in enumerate(location):
        is_tag = index > 0 and isinstance(part, str) and _is_tag_after(location[index - 1], part)
        if not is_tag:
            kept.append(part)
    return kept


_UNIONS = ("task", "dataset", "model", "norm", "activation", "optimizer", "schedule", "loss", "init")


def _is_tag_after(field: int | str, part: str) -> bool:
    return field in _UNIONS and part not in ("kind", "dataset")


def _shown(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value if value == value and value not in (float("inf"), float("-inf")) else str(value)
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 200 else text[:197] + "..."


def _mend(detail: Any, model: type[BaseModel]) -> str:
    kind, context, location = detail["type"], detail.get("ctx", {}), detail["loc"]
    if kind == "extra_forbidden":
        known = sorted(_known_keys(model, location[:-1]))
        close = difflib.get_close_matches(str(location[-1]), known, n=1)
        return (f"did you mean {close[0]!r}? " if close else "remove it; ") + f"known here: {', '.join(known)}"
    if kind == "missing":
        return "add it"
    if kind in ("union_tag_invalid", "literal_error"):
        expected = str(context.get("expected_tags") or context.get("expected"))
        return f"use one of {expected}"
    if kind == "union_tag_not_found":
        return 'add "kind"'
    bounds = [f"{word} {context[key]}" for key, word in _BOUNDS.items() if key in context]
    return f"use a value {' and '.join(bounds)}" if bounds else _BY_TYPE.get(kind, "see GET /v1/spec-schema")


_BOUNDS = {"gt": "above", "ge": "of at least", "lt": "below", "le": "of at most", "min_length": "at least as long as",
           "max_length": "at most as long as"}  # fmt: skip
_BY_TYPE = {
    "int_type": "use a whole number, without quotes",
    "int_from_float": "use a whole number",
    "float_type": "use a number, without quotes",
    "finite_number": "use a finite number",
    "bool_type": "use true or false",
    "string_type": "use a string",
    "model_type": "use an object",
    "model_attributes_type": "use an object, or the name of a kind where there are kinds",
    "dict_type": "use an object",
}


def _known_keys(model: type[BaseModel], location: tuple[int | str, ...]) -> set[str]:
    """Keys allowed at a path of pydantic's: follows fields, and the tags of unions."""
    here: list[type[BaseModel]] = [model]
    for part in location:
        following: list[type[BaseModel]] = []
        for candidate in here:
            field = candidate.model_fields.get(str(part))
            if field is not None:
                following += list(_models(field.annotation))
            elif "kind" in candidate.model_fields and candidate.model_fields["kind"].default == part:
                following.append(candidate)
        here = following or here
    return {name for candidate in here for name in candidate.model_fields}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _models(argument)
