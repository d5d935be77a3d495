"""What all figures share: colours for light and dark, a transparent background, one time axis."""

from html import escape
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from app.dashboard.panels.registry import Mark, Options, Theme

FONT = '-apple-system, "Segoe UI", Roboto, Inter, "Helvetica Neue", Arial, sans-serif'


class Palette(NamedTuple):
    """Colours of one theme; the same as static/style.css has."""

    text: str
    muted: str
    grid: str
    surface: str
    lines: tuple[str, ...]
    critical: str
    warning: str
    info: str
    nonfinite: str
    scale: tuple[str, ...]


PALETTES: dict[Theme, Palette] = {
    "light": Palette(
        text="#171b22",
        muted="#5a6472",
        grid="#e8ebf0",
        surface="#ffffff",
        lines=("#2b59c3", "#b8540c", "#177a4c", "#7a3fb0"),
        critical="#c3272e",
        warning="#9c5c00",
        info="#4a6a8a",
        nonfinite="#e6007e",
        scale=("#e6eef8", "#c5d9ee", "#8cb8dc", "#4f90c6", "#2667a9", "#163f7c", "#0b1f47"),
    ),
    "dark": Palette(
        text="#e8ebf0",
        muted="#9ba6b5",
        grid="#262d37",
        surface="#161b22",
        lines=("#84a9ff", "#f0a35e", "#5fcf94", "#c79bf2"),
        critical="#ff7b7b",
        warning="#e9b44c",
        info="#8fb3d9",
        nonfinite="#ff4fa8",
        scale=("#1a2a40", "#1d3557", "#235287", "#2f76b5", "#5a9fd4", "#9cc9ea", "#e8f4ff"),
    ),
}


def typed(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """`values` ready for the figure: float32 stays float32 and travels as bytes, infinities become gaps."""
    if values.dtype.kind != "f":
        return values
    return np.where(np.isfinite(values), values, np.float32("nan")).astype(np.float32)


def safe(text: str) -> str:
    """`text` as plotly's label shows it: its labels know some HTML tags, and names are given by users."""
    return escape(text, quote=False)


def time_axis(options: Options) -> dict[str, Any]:
    """The step axis, which ends where the page's does."""
    colours = PALETTES[options.theme]
    margin = max(1.0, 0.01 * (options.last - options.first))
    return {
        "range": [options.first - margin / 2, options.last + margin],
        "gridcolor": colours.grid,
        "linecolor": colours.grid,
        "tickfont": {"color": colours.muted},
        "zeroline": False,
        "tickformat": ",d",
        "nticks": 6,
        "showspikes": False,
        "ticks": "",
    }


def base_layout(options: Options) -> dict[str, Any]:
    """The layout that every panel starts from."""
    colours = PALETTES[options.theme]
    return {
        "font": {"family": FONT, "size": 11, "color": colours.text},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 46, "r": 12, "t": 10, "b": 26, "autoexpand": False},
        "showlegend": False,
        "hoverlabel": {
            "bgcolor": colours.surface,
            "bordercolor": colours.muted,
            "font": {"family": FONT, "size": 12, "color": colours.text},
            "align": "left",
            "namelength": 40,
        },
        "xaxis": time_axis(options),
    }


def mark_shapes(options: Options) -> list[dict[str, Any]]:
    """A dotted vertical line where each alert began."""
    colours = PALETTES[options.theme]
    return [
        {
            "type": "line",
            "layer": "below",
            "x0": mark.step,
            "x1": mark.step,
            "yref": "paper",
            "y0": 0,
            "y1": 1,
            "line": {"color": severity_colour(colours, mark), "width": 1.2, "dash": "dot"},
        }
        for mark in options.marks
        if options.first <= mark.step <= options.last
    ]


def severity_colour(colours: Palette, mark: Mark) -> str:
    """The colour of an alert's severity."""
    return {"critical": colours.critical, "warning": colours.warning}.get(mark.severity, colours.info)


def wrapped(text: str, width: int = 60) -> str:
    """`text` escaped for a hover label, broken into lines of at most about `width` characters."""
    lines, current = [], ""
    for word in text.split():
        for piece in (word[i : i + width] for i in range(0, len(word), width)):
            if current and len(current) + len(piece) >= width:
                lines.append(current)
                current = piece
            else:
                current = f"{current} {piece}" if current else piece
    return "<br>".join(safe(line) for line in [*lines, current])
