"""From a user's JSON to a spec, or to a list of everything that is wrong with it."""

import difflib
import math
import reprlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_origin

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


def described(error: ValidationError, model: Any, *, see: str = "see GET /v1/spec-schema") -> Iterator[Problem]:
    """Each of pydantic's complaints about a `model`, or about a union of models, as a problem with a mend.

    `see` is the mend of those about which nothing closer is known.
    """
    told: set[str] = set()
    for detail in error.errors(include_url=False):
        place = _followed(model, detail["loc"])
        kind, value = detail["type"], detail["input"]
        if kind in ("union_tag_invalid", "union_tag_not_found"):
            place.path.append("kind")
            value = detail.get("ctx", {}).get("tag")
        path = ".".join(str(part)[:100] for part in place.path) or "(whole document)"
        if path not in told:  # pydantic complains once for each member of `float | int | bool`
            told.add(path)
            yield Problem(
                path=path,
                value=_shown(value) if kind != "missing" else None,
                message=_MESSAGES.get(kind, detail["msg"].removeprefix("Value error, ")),
                mend=_mend(detail, place, see),
            )


@dataclass(frozen=True)
class _Place:
    """Where a complaint is: the path in the user's words, and the models that may stand there."""

    path: list[int | str]
    models: list[type[BaseModel]]


def _followed(model: Any, location: tuple[int | str, ...]) -> _Place:
    # pydantic puts the chosen member of a union into its path: model.mlp.depth is the user's model.depth
    path: list[int | str] = []
    models, is_key, is_leaf = list(_models(model)), False, False
    for part in location:
        chosen = [candidate for candidate in models if len(models) > 1 and _kind(candidate) == part]
        if is_key or isinstance(part, int):
            path.append(part)
            is_key, is_leaf = False, not models
        elif chosen:
            models = chosen
        elif not is_leaf:
            path.append(part)
            fields = [candidate.model_fields[part] for candidate in models if part in candidate.model_fields]
            if fields:
                models = [found for field in fields for found in _models(field.annotation)]
                is_key = get_origin(fields[0].annotation) is dict
                is_leaf = not models and not is_key
    return _Place(path, models)


def _kind(model: type[BaseModel]) -> object:
    return model.model_fields["kind"].default if "kind" in model.model_fields else None


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _models(argument)


def _shown(value: object) -> object:
    """What was got, short, and such that any JSON encoder can write it."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) <= 2**53 else "a whole number beyond 2^53"
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    text = value if isinstance(value, str) else reprlib.repr(value)
    text = text if len(text) <= 200 else text[:197] + "..."
    return text.encode("utf-8", "backslashreplace").decode()


def _mend(detail: Any, place: _Place, see: str) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        known = sorted({name for model in place.models for name in model.model_fields})
        name = str(place.path[-1])
        if "spec" in known and name in RunSpec.model_fields:
            return f"put it into `spec`; known here: {', '.join(known)}"
        return nearest(name, known, otherwise="remove it; ") + f"known here: {', '.join(known)}"
    if kind == "missing":
        kinds = _kinds(place)
        return "add it" + (f"; its kind is one of {', '.join(kinds)}" if kinds else "")
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        kinds = _kinds(place)
        known_kinds = ", ".join(kinds) or str(context.get("expected_tags", "the documented kinds"))
        return nearest(str(context.get("tag", "")), kinds) + f"use one of {known_kinds}"
    if kind in ("literal_error", "enum"):
        return f"use {context['expected']}"
    bounds = [f"{word} {context[key]}" for key, word in _BOUNDS.items() if key in context]
    return f"use a value {' and '.join(bounds)}" if bounds else _BY_TYPE.get(kind, see)


def _kinds(place: _Place) -> list[str]:
    return [str(_kind(model)) for model in place.models if _kind(model) is not None]


def nearest(word: str, known: list[str], *, otherwise: str = "") -> str:
    """A question whether one of the names was meant, where one is like the word or is what other libraries call so."""
    elsewhere = _ELSEWHERE.get(word)
    close = [elsewhere] if elsewhere in known else difflib.get_close_matches(word[:100], known, n=1)
    return f"did you mean {close[0]!r}? " if close else otherwise


_ELSEWHERE = {
    "betas": "beta1",
    "bs": "batch_size",
    "epochs": "steps",
    "epsilon": "eps",
    "hidden_size": "width",
    "layers": "depth",
    "lr": "learning_rate",
    "max_steps": "steps",
    "num_layers": "depth",
    "wd": "weight_decay",
}
"""What other libraries call it, where that is spelt too differently to be near."""

_MESSAGES = {
    "extra_forbidden": "is not known here",
    "missing": "is missing",
    "union_tag_invalid": "is no kind known here",
    "union_tag_not_found": "is missing",
}
"""What pydantic says in words of its own inside."""
_BOUNDS = {
    "gt": "above",
    "ge": "of at least",
    "lt": "below",
    "le": "of at most",
    "min_length": "at least as long as",
    "max_length": "at most as long as",
}
_BY_TYPE = {
    "int_type": "use a whole number, without quotes",
    "int_from_float": "use a whole number",
    "int_parsing": "use a whole number",
    "float_type": "use a number, without quotes",
    "finite_number": "use a finite number",
    "bool_type": "use true or false",
    "string_type": "use a string",
    "string_unicode": "use valid Unicode, without lone surrogates",
    "model_type": "use an object",
    "model_attributes_type": "use an object, or the name of a kind where there are kinds",
    "dict_type": "use an object",
    "list_type": "use a list, also of one",
    "float_parsing": "use a number",
    "bool_parsing": "use true or false",
}
