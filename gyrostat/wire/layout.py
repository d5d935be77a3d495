"""The layout: what the columns of a run's frames mean. Sent before the frames that use it, versioned."""

from collections import Counter
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Axis = Literal["run", "module", "parameter", "matrix", "block", "head", "rank", "eigenvalue"]
"""What a metric's values are indexed by. `matrix` is the parameters with two or more dimensions, in order."""

MAX_NAMES = 20_000
MAX_LAYOUT_VERSION = 1_000_000
MAX_NAME_BYTES = 256


def _without_controls(text: str) -> str:
    if any((ord(character) < 32 and character not in "\n\t") or ord(character) == 127 for character in text):
        raise ValueError("must hold no control characters but line feed and tab; databases refuse some of them")
    return text


Text = Annotated[str, AfterValidator(_without_controls)]
"""A string that every database can store."""


class Wire(BaseModel):
    """Base of everything that crosses the wire: frozen, strict, unknown keys refused, NaN written as text."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", ser_json_inf_nan="strings")


class MetricDeclaration(Wire):
    """One metric of a run: its name, unit, axis and meaning."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$", max_length=96, examples=["gradient.norm"])
    unit: Text = Field(max_length=32, description="Unit, or `1` for a ratio", examples=["1"])
    axis: Axis
    description: Text = Field(default="", max_length=1000)


class Layout(Wire):
    """One version of a run's layout: its metrics, and the ordered names of each axis they use.

    A metric on axis `run` is a scalar. Every other axis needs its names; a vector of a frame has a value a name.
    """

    version: int = Field(ge=1, le=MAX_LAYOUT_VERSION)
    axes: dict[Axis, list[str]] = Field(default_factory=dict, description="Ordered names of each axis but `run`")
    metrics: list[MetricDeclaration] = Field(max_length=500)

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        for axis, names in self.axes.items():
            _check_names(axis, names)
        declared = [metric.name for metric in self.metrics]
        if len(set(declared)) != len(declared):
            raise ValueError(f"metric {_repeated(declared)!r} is declared twice; declare each metric once")
        for metric in self.metrics:
            if metric.axis != "run" and metric.axis not in self.axes:
                raise ValueError(f"metric {metric.name!r} is on axis {metric.axis!r}, whose names are not in `axes`")
        return self

    @cached_property
    def widths(self) -> dict[str, int]:
        """How many values a frame holds of each metric."""
        return {metric.name: 1 if metric.axis == "run" else len(self.axes[metric.axis]) for metric in self.metrics}

    @cached_property
    def names(self) -> dict[str, list[str]]:
        """Names of each metric's columns; a scalar has one empty name."""
        return {metric.name: [""] if metric.axis == "run" else self.axes[metric.axis] for metric in self.metrics}

    def width(self, metric: str) -> int | None:
        """How many values a frame holds of `metric`; None where the layout does not declare it."""
        return self.widths.get(metric)


def _check_names(axis: str, names: list[str]) -> None:
    if axis == "run":
        raise ValueError("axis `run` has no names: its metrics are scalars")
    if len(names) > MAX_NAMES:
        raise ValueError(f"axis {axis!r} has {len(names)} names; at most {MAX_NAMES} are stored")
    if len(set(names)) != len(names):
        raise ValueError(f"axis {axis!r} names {_repeated(names)!r} twice; names along an axis must differ")
    for name in names:
        try:
            size = len(name.encode())
        except UnicodeEncodeError:
            raise ValueError(f"axis {axis!r} has a name that is not valid Unicode: {name!r}") from None
        if not 0 < size <= MAX_NAME_BYTES or any(ord(c) < 32 or ord(c) == 127 for c in name):
            raise ValueError(f"axis {axis!r} has the name {name!r}; names are 1-{MAX_NAME_BYTES} bytes, no controls")


def _repeated(names: list[str]) -> str:
    return Counter(names).most_common(1)[0][0]
