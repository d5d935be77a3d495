"""An example of a JSON schema: the one it gives, else one made of its parts."""

from typing import Any

DEPTH = 12
FORMATS = {"date-time": "2026-03-14T09:26:53.589793Z", "binary": "…"}
NAMES: dict[str, Any] = {
    "id": "5f0c2f9d3b1a4e77",
    "run": "5f0c2f9d3b1a4e77",
    "run_id": "5f0c2f9d3b1a4e77",
    "name": "digits-mlp-1",
    "project": "default",
    "step": 120,
    "attempt": 1,
    "worker": "desk-1",
}
"""What fields of these names hold, where nothing else is known."""


def example_of(schema: Any, schemas: dict[str, Any], *, name: str = "", depth: int = DEPTH) -> Any:
    """A value that fits the schema; `schemas` are the document's components."""
    if not isinstance(schema, dict) or depth == 0:
        return None
    if "$ref" in schema:
        return example_of(schemas.get(schema["$ref"].rpartition("/")[2], {}), schemas, name=name, depth=depth - 1)
    if schema.get("examples"):
        return schema["examples"][0]
    for key in ("example", "const", "default"):
        if key in schema:
            return schema[key]
    if schema.get("enum"):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return example_of(_telling(schema[key]), schemas, name=name, depth=depth - 1)
    return _of_type(schema, schemas, name, depth)


def _telling(choices: list[Any]) -> Any:
    return next((choice for choice in choices if choice.get("type") != "null"), choices[0])


def _of_type(schema: dict[str, Any], schemas: dict[str, Any], name: str, depth: int) -> Any:
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        return {
            key: example_of(part, schemas, name=key, depth=depth - 1)
            for key, part in schema.get("properties", {}).items()
        }
    if kind == "array":
        if "prefixItems" in schema:
            return [example_of(part, schemas, depth=depth - 1) for part in schema["prefixItems"]]
        return [example_of(schema.get("items", {}), schemas, name=name.removesuffix("s"), depth=depth - 1)]
    if kind in ("integer", "number"):
        if name in NAMES:
            return NAMES[name]
        lowest = schema.get("minimum", schema.get("exclusiveMinimum"))
        return 1 if lowest is None or lowest < 1 else lowest
    if kind == "boolean":
        return False
    if kind == "string":
        return NAMES.get(name) or FORMATS.get(schema.get("format", ""), name or "text")
    return None
