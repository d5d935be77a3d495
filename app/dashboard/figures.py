"""Figures as JSON for the browser: arrays travel as base64 bytes, so NaN needs no token of its own."""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from app.dashboard.panels.registry import Figure

_CODES = {"float32": "f4", "float64": "f8", "int32": "i4", "uint8": "u1"}


def to_json(figure: Figure) -> bytes:
    """A figure's document: `{"data", "layout", "summary", "note", "key"}`."""
    return orjson.dumps(figure._asdict(), default=_plain)


def failure(told: str) -> bytes:
    """Stands for the document of a figure that cannot be drawn."""
    return orjson.dumps({"failed": told})


def together(bodies: Mapping[str, bytes]) -> bytes:
    """Several such bodies as one object, by their names."""
    return b"{" + b",".join(orjson.dumps(name) + b":" + body for name, body in bodies.items()) + b"}"


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):  # a NamedTuple, which orjson does not take for a tuple
        return list(value)
    if not isinstance(value, np.ndarray):
        raise TypeError(f"a figure holds {type(value).__name__}, which has no JSON form; use arrays and plain values")
    if value.dtype == np.int64:  # the browser's 64-bit integers are no numbers; float64 holds every step exactly
        value = value.astype(np.int32 if not value.size or np.abs(value).max() < 2**31 else np.float64)
    if value.dtype.name not in _CODES:
        raise TypeError(f"a figure holds an array of {value.dtype}; use float32 or int64")
    little = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<"))
    typed = {"dtype": _CODES[value.dtype.name], "bdata": base64.b64encode(little.tobytes()).decode()}
    return typed | {"shape": ", ".join(map(str, value.shape))} if value.ndim > 1 else typed
