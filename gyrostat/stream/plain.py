"""Values of any kind as JSON that every database can store: what an event may carry."""

import math
from typing import Any

import msgspec

MAX_EVENT_BYTES = 256 << 10
MAX_TEXT = 64 << 10
MAX_ITEMS = 10_000
MAX_DEPTH = 20


def plain_event(data: dict[str, Any]) -> dict[str, Any]:
    """`data` as `plain` makes it, and no larger than `MAX_EVENT_BYTES`."""
    made: dict[str, Any] = plain(data)
    encoded = msgspec.json.encode(made)
    return made if len(encoded) <= MAX_EVENT_BYTES else {"cut": text(encoded.decode())}


def plain(value: Any) -> Any:
    """`value` with unknown kinds as text, non-finite numbers as "NaN" or "Infinity", and long or deep parts cut."""
    return _Copy().of(value, MAX_DEPTH)


def text(value: str) -> str:
    """`value` without what databases refuse (NUL, lone surrogates); of a long one, the two ends."""
    if len(value) > MAX_TEXT:
        left_out = f"\n... {len(value) - MAX_TEXT} characters left out ...\n"
        value = value[: MAX_TEXT // 4] + left_out + value[-3 * MAX_TEXT // 4 :]
    return value.replace("\0", "�").encode("utf-8", "replace").decode()


class _Copy:
    """One copy, of at most `MAX_ITEMS` values: what holds itself many times over has no end otherwise."""

    def __init__(self) -> None:
        self._left = MAX_ITEMS

    def of(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return int(value) if abs(value) <= 2**53 else text(hex(value))
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else _spelled(value)
        if isinstance(value, dict | list | tuple | set | frozenset):
            return self._container(value, depth - 1) if depth and self._left > 0 else "..."
        if isinstance(number := _number(value), int | float):
            return self.of(number, depth)
        return text(value if isinstance(value, str) else str(value))

    def _container(self, value: Any, depth: int) -> Any:
        items = list(value.items() if isinstance(value, dict) else value)[: self._left]
        if isinstance(value, dict):
            return {text(str(key)): self.of(item, depth) for key, item in items}
        return [self.of(item, depth) for item in items]


def _number(value: Any) -> Any:
    """The Python number of a numpy scalar or an array of one; None for anything else."""
    return value.item() if getattr(value, "size", None) == 1 and hasattr(value, "item") else None


def _spelled(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
