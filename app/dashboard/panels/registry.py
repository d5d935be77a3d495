"""The registry of panels: a panel is one decorated function from series to a figure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from app.series import Series

Theme = Literal["light", "dark"]
Control = Literal["smooth", "log"]


class Mark(NamedTuple):
    """An alert on the time axis; `text` is what the user reads on hovering, not yet escaped."""

    step: int
    severity: str
    text: str


class Options(NamedTuple):
    """How a panel is drawn.

    Attributes:
        first, last: steps at the ends of the time axis, the same in all panels of a page so that they line up.
        smooth: weight of the past in the exponential average, 0 (off) to below 1.
        log: whether the value axis is logarithmic; None takes the panel's own.
    """

    first: int
    last: int
    theme: Theme = "light"
    smooth: float = 0.0
    log: bool | None = None
    marks: tuple[Mark, ...] = ()


class Key(NamedTuple):
    """What a curve's colour stands for."""

    label: str
    colour: str
    dashed: bool = False


class Figure(NamedTuple):
    """A plotly figure, the sentence that a screen reader says instead of it, what the picture leaves out, its key."""

    data: list[dict[str, Any]]
    layout: dict[str, Any]
    summary: str
    note: str = ""
    key: tuple[Key, ...] = ()


Draw = Callable[[Mapping[str, Series], Options], Figure]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A chart of the run page.

    Attributes:
        slug: of its address. metrics: what it reads; it is shown where the run has any of them.
        hint: one sentence on how to read it. controls: what its header offers.
        log: whether the value axis starts logarithmic.
        layered: whether it is a map of layers over steps, which needs fewer columns than a line.
    """

    slug: str
    title: str
    metrics: tuple[str, ...]
    hint: str
    draw: Draw
    controls: tuple[Control, ...] = ()
    log: bool = False
    layered: bool = False


PANELS: dict[str, Panel] = {}
"""Every panel by its slug, in the order of the page."""


def panel(
    slug: str,
    title: str,
    metrics: tuple[str, ...],
    *,
    hint: str,
    controls: tuple[Control, ...] = (),
    log: bool = False,
    layered: bool = False,
) -> Callable[[Draw], Draw]:
    """Registers the function that draws the panel `slug` from the series of `metrics` that exist."""

    def register(draw: Draw) -> Draw:
        if slug in PANELS:
            raise TypeError(f"two panels have the slug {slug!r}")
        PANELS[slug] = Panel(
            slug=slug, title=title, metrics=metrics, hint=hint, draw=draw, controls=controls, log=log, layered=layered
        )
        return draw

    return register
