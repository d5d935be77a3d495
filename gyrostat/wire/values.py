"""The one float32 that means "not measured", and how non-finite values look in JSON.

NaN is data here: a layer whose norm is NaN is what the product exists to report. "This module did not
run at this step" therefore needs a value of its own. As in R's `NA_real_`, it is a quiet NaN with an
agreed payload, which survives copies, msgpack and storage; arithmetic on it gives a NaN, so it is
removed by `is_absent` before any is done. In JSON it is `null`.
"""

from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]

ABSENT_BITS = np.uint32(0x7FC0_1954)
ABSENT: np.float32 = np.array([ABSENT_BITS], dtype="<u4").view("<f4")[0]

_SPELLINGS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def is_absent(values: Float32Array) -> npt.NDArray[np.bool_]:
    """Where `values` (any shape, float32) holds the "not measured" mark."""
    mask: npt.NDArray[np.bool_] = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32) == ABSENT_BITS
    return mask


def to_json(values: Float32Array) -> Any:
    """Nested lists of numbers, with "NaN", "Infinity", "-Infinity" as strings and absent as None.

    Numbers are the shortest decimals that read back to the same float32.
    """
    array = np.ascontiguousarray(values, dtype=np.float32)
    if np.isfinite(array).all():
        return array.astype(np.float64).tolist() if array.size == 0 else _short(array)
    flat = array.ravel()
    listed: list[Any] = _short(flat)
    absent = is_absent(flat)
    for index in np.flatnonzero(~np.isfinite(flat)):
        listed[index] = None if absent[index] else spelled(float(flat[index]))
    return _nest(listed, array.shape)


def from_json(values: Any) -> Float32Array:
    """The float32 array that `to_json` wrote; also reads plain nested lists of numbers.

    Raises:
        ValueError: something in it is neither a number, null, nor one of the three spellings, or rows differ
            in length.
    """
    try:
        if _leaf_types(values) <= {int, float}:
            return _narrow(np.asarray(values, dtype=np.float64))
        return np.asarray(_read(values), dtype=np.float32)
    except OverflowError as error:
        raise ValueError(f"a number is too large: {error}") from error
    except RecursionError as error:
        raise ValueError("lists are nested too deeply; at most rows of values are expected") from error


def _leaf_types(values: Any) -> set[type]:
    # numpy would read "12" as 12.0, None as nan and True as 1.0, so only plain numbers may take its fast path
    kinds: set[type] = set()
    level = [values]
    while level:
        kinds.update(map(type, level))
        level = list(chain.from_iterable(item for item in level if type(item) is list))
    return kinds - {list}


def _narrow(array: npt.NDArray[np.float64]) -> Float32Array:
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _read(value: Any) -> Any:
    if isinstance(value, list):
        return [_read(item) for item in value]
    if value is None:
        return ABSENT
    if isinstance(value, str):
        if value in _SPELLINGS:
            return np.float32(_SPELLINGS[value])
        raise ValueError(f'{value!r:.80} is not a number; only "NaN", "Infinity" and "-Infinity" may be strings')
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r:.80} is not a number")
    with np.errstate(over="ignore"):
        return np.float32(value)


def spelled(value: float) -> str:
    """A non-finite number as JSON text: "NaN", "Infinity" or "-Infinity"."""
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def _short(array: Float32Array) -> list[Any]:
    # float32 -> the float64 whose repr is the float32's shortest decimal, so JSON shows 0.1 and not 0.10000000149
    listed: list[Any] = np.array([float(str(x)) for x in array.ravel()]).reshape(array.shape).tolist()
    return listed


def _nest(flat: list[Any], shape: tuple[int, ...]) -> list[Any]:
    for size in reversed(shape[1:]):
        flat = [flat[i : i + size] for i in range(0, len(flat), size)]
    return flat
