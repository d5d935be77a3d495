"""The bases of all settings, and the catalogue that techniques enter by being defined."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Settings(BaseModel):
    """A part of the spec: frozen, strict, unknown keys refused, no NaN or infinity, every field described."""

    @staticmethod
    def _describe_kind(schema: dict[str, Any]) -> None:
        kind = schema.get("properties", {}).get("kind")
        if kind is not None:
            kind.setdefault("description", "Tells this choice from its alternatives")

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        validate_default=True,
        json_schema_extra=_describe_kind,
    )


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The catalogue text of a technique.

    Attributes:
        section: of the brief ("1" to "20"); "+" for what goes beyond it.
        title: the field's standard name.
        formula: in plain Unicode mathematics.
        controls: what it acts on, one clause.
        when: one sentence on when it helps.
        treats: kinds of alerts it can cure.
        source: paper or book, with the equation where there is one.
    """

    section: str
    title: str
    formula: str
    controls: str
    when: str
    treats: tuple[str, ...] = ()
    source: str


STABILIZERS: dict[str, type["Technique"]] = {}
"""Every technique by its id, `family.kind`, in the order of definition."""


class Technique(Settings):
    """A technique of the toolkit. Subclasses set `family`, `entry` and a literal `kind`; defining one registers it."""

    family: ClassVar[str]
    entry: ClassVar[Entry]
    arithmetic: ClassVar[bool] = False
    """Whether the spec itself carries it out, so that no maths in torch pairs with it."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        if "entry" in cls.__dict__:
            if cls.id() in STABILIZERS:
                raise TypeError(f"two techniques have the id {cls.id()!r}: {STABILIZERS[cls.id()]} and {cls}")
            STABILIZERS[cls.id()] = cls

    @classmethod
    def id(cls) -> str:
        """`family.kind`, unique in the catalogue."""
        return f"{cls.family}.{cls.model_fields['kind'].default}"


def _spelled_out(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


Shorthand = BeforeValidator(_spelled_out)
"""Lets a bare name stand for a technique with its defaults: `"norm": "batch"` is `"norm": {"kind": "batch"}`."""


MAX_PATCH_DEPTH = 64


def merge_patch(target: Any, patch: Any) -> Any:
    """`target` changed by a JSON merge patch (RFC 7396): null removes a key, a map merges, anything else replaces.

    A map whose `kind` differs from the target's replaces it whole, since the settings of another kind mean nothing.

    Raises:
        ValueError: the patch is nested deeper than any spec.
    """
    return _merged(target, patch, MAX_PATCH_DEPTH)


def _merged(target: Any, patch: Any, depth: int) -> Any:
    if not isinstance(patch, Mapping):
        return patch
    if not depth:
        raise ValueError(
            f"the patch is nested deeper than {MAX_PATCH_DEPTH} maps; a spec is not, so send a flatter one"
        )
    merged = dict(target) if isinstance(target, Mapping) and not _changes_kind(target, patch) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value, depth - 1)
    return merged


def _changes_kind(target: Mapping[str, Any], patch: Mapping[str, Any]) -> bool:
    return patch.get("kind") is not None and patch["kind"] != target.get("kind")
