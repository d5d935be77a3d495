"""What was measured on demand as figures: the loss along a line or on a plane, spectra, likenesses of layers."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from app.dashboard.panels.grid import CHARACTER, coloured, shortened
from app.dashboard.panels.registry import Figure, Key, Options, Theme
from app.dashboard.panels.style import PALETTES, Palette, base_layout, safe, typed
from gyrostat.wire.values import Float32Array, from_json

FLOOR = 0.1
"""A spectrum is drawn down to this share of the peak that one single eigenvalue makes."""


class Form(NamedTuple):
    """A form in which measurements are drawn: a title, how to read it, and whether it starts on a logarithmic scale,
    where it has one.
    """

    title: str
    hint: str
    log: bool | None


FORMS = {
    "line": Form("Loss along a line", "At ±1 a random direction moves each filter by its own length.", False),
    "plane": Form("Loss on a plane", "Two random directions; at ±1 each moves every filter by its own length.", True),
    "spectrum": Form("Spectrum of the Hessian", "How many of the eigenvalues are near each value.", True),
    "kernel": Form("Spectrum of the tangent kernel", "Large eigenvalues are learnt first, by their share.", True),
    "likeness": Form("Likeness of layers", "Centered kernel alignment: 1 is the same up to rotation and scale.", None),
}
"""By name, in the order of the page."""


def form_of(settings: Mapping[str, Any]) -> str:
    """Which of `FORMS` shows a measurement of these settings."""
    if settings["kind"] == "landscape":
        return "plane" if settings["dimensions"] == 2 else "line"
    return {"spectral_density": "spectrum", "ntk": "kernel", "cka": "likeness"}[settings["kind"]]


def figure_of(settings: Mapping[str, Any], values: Mapping[str, Any], *, theme: Theme, log: bool | None) -> Figure:
    """The figure of a measurement; `log` None takes its form's own scale."""
    form = form_of(settings)
    draw = {"line": line, "plane": plane, "spectrum": spectrum, "kernel": kernel, "likeness": likeness}[form]
    return draw(values, Options(0, 1, theme), bool(FORMS[form].log) if log is None else log)


def line(values: Mapping[str, Any], options: Options, log: bool) -> Figure:
    """The loss at multiples of one direction, the weights themselves in the middle."""
    colours = PALETTES[options.theme]
    at, losses = np.asarray(values["positions"], np.float32), from_json(values["losses"])
    finite = np.isfinite(losses)
    if not finite.any():
        return Figure([], {}, "No loss is finite, at the weights neither.")
    log = log and bool((losses[finite] > 0).all())
    marker = {"size": 4, "color": colours.lines[0]}
    data = [
        {
            "type": "scatter",
            "x": at,
            "y": typed(losses),
            "mode": "lines+markers",
            "line": {"color": colours.lines[0], "width": 1.7},
            "marker": marker,
            "hovertemplate": "%{x:.3~g}: %{y:.4~g}<extra></extra>",
        }
    ]
    if not finite.all():
        data.append(_broken(at[~finite], colours))
    layout = _layout(options, at) | {
        "yaxis": _axis(colours) | {"type": "log" if log else "linear"},
        "yaxis2": {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True},
        "shapes": [_middle(colours)],
    }
    key = () if finite.all() else (Key("NaN or infinity", colours.nonfinite),)
    return Figure(data, layout, _told(at, losses), key=key)


def plane(values: Mapping[str, Any], options: Options, log: bool) -> Figure:
    """The loss at multiples of two directions, as a map with lines of equal loss."""
    colours = PALETTES[options.theme]
    at, losses = np.asarray(values["positions"], np.float32), from_json(values["losses"])
    finite = np.isfinite(losses)
    if not finite.any():
        return Figure([], {}, "No loss is finite, at the weights neither.")
    shown, bar = coloured(losses, log and bool((losses[finite] > 0).all()), False)
    data: list[dict[str, Any]] = [
        {
            "type": "contour",
            "x": at,
            "y": at,
            "z": shown,
            "customdata": typed(losses),
            "contours": {"coloring": "heatmap"},
            "ncontours": 24,
            "line": {"width": 0.6, "color": colours.muted},
            "connectgaps": False,
            "hovertemplate": "(%{x:.3~g}, %{y:.3~g}): %{customdata:.4~g}<extra></extra>",
            **_scale(colours, bar),
        },
        {
            "type": "scatter",
            "x": [0],
            "y": [0],
            "mode": "markers",
            "hoverinfo": "skip",
            "marker": {"symbol": "cross-thin", "size": 11, "line": {"width": 2, "color": colours.lines[1]}},
        },
    ]
    layout = _layout(options, at)
    layout["margin"] |= {"r": 48}
    layout["yaxis"] = _axis(colours) | {"range": [float(at[0]), float(at[-1])], "showgrid": False}
    layout["xaxis"] |= {"showgrid": False}
    key = [Key("the weights", colours.lines[1])]
    if not finite.all():
        rows, columns = np.nonzero(~finite)
        data.append(_broken(at[columns], colours) | {"yaxis": "y", "y": at[rows]})
        key.append(Key("NaN or infinity", colours.nonfinite))
    return Figure(data, layout, _told(at, losses), key=tuple(key))


def spectrum(values: Mapping[str, Any], options: Options, log: bool) -> Figure:
    """The smoothed density of eigenvalues, in a band of one standard error to either side."""
    colours = PALETTES[options.theme]
    grid, density, error = (from_json(values[name]) for name in ("grid", "density", "error"))
    single = 1 / (values["parameters"] * values["sigma"] * math.sqrt(2 * math.pi))
    floor = FLOOR * single if log else 0.0
    high = float(density.max())
    edge = {"type": "scatter", "x": grid, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    band = colours.lines[0]
    red, green, blue = (int(band[i : i + 2], 16) for i in (1, 3, 5))
    data = [
        {**edge, "y": typed(np.maximum(density - error, floor))},
        {
            **edge,
            "y": typed(np.maximum(density + error, floor)),
            "fill": "tonexty",
            "fillcolor": f"rgba({red},{green},{blue},0.18)",
        },
        {
            "type": "scatter",
            "x": grid,
            "y": typed(np.where(density >= floor, density, np.nan)),
            "mode": "lines",
            "line": {"color": band, "width": 1.7},
            "hovertemplate": "λ %{x:.4~g}: density %{y:.3~g}<extra></extra>",
        },
    ]
    layout = _layout(options, grid)
    layout["yaxis"] = _axis(colours) | ({"exponentformat": "e"} if log else {})
    layout["yaxis"] |= (
        {"type": "log", "range": [math.log10(floor), math.log10(2 * high)], "dtick": _decades(floor, high)}
        if log
        else {"range": [0, 1.05 * high]}
    )
    layout["shapes"] = [_middle(colours)]
    return Figure(data, layout, _spectrum_told(values), note=_spectrum_told(values))


def kernel(values: Mapping[str, Any], options: Options, log: bool) -> Figure:
    """The eigenvalues of a neural tangent kernel, the largest first."""
    colours = PALETTES[options.theme]
    found = from_json(values["kernel_eigenvalues"])[::-1]
    rank = np.arange(1, len(found) + 1, dtype=np.float32)
    data = {
        "type": "scatter",
        "x": rank,
        "y": typed(np.where(found > 0, found, np.nan) if log else found),
        "mode": "lines+markers",
        "line": {"color": colours.lines[0], "width": 1.2},
        "marker": {"size": 5, "color": colours.lines[0]},
        "hovertemplate": "%{x}: %{y:.4~g}<extra></extra>",
    }
    layout = _layout(options, np.array([0.5, len(found) + 0.5], np.float32))
    layout["yaxis"] = _axis(colours) | ({"type": "log", "exponentformat": "e"} if log else {"rangemode": "tozero"})
    share = f"; the largest is {found[0] / found.sum():.0%} of their sum" if found.any() else ""
    told = f"{len(found)} eigenvalues from {found[-1]:.3g} to {found[0]:.3g}{share}."
    return Figure([data], layout, told, note=told)


def likeness(values: Mapping[str, Any], options: Options, log: bool) -> Figure:
    """The likeness of each layer to each, the first layer at the top and left."""
    colours = PALETTES[options.theme]
    matrix, names = from_json(values["alignment"]), [safe(name) for name in values["names"]]
    labels = [safe(shortened(name)) for name in values["names"]]
    layout = base_layout(options)
    layout["margin"] |= {"l": round(12 + CHARACTER * max(map(len, labels))), "r": 48, "b": 10}
    every = max(1, -(-len(names) // 16))
    axis = {"type": "category", "showgrid": False, "fixedrange": True, "ticks": ""}
    layout["xaxis"] = axis | {"showticklabels": False}
    layout["yaxis"] = axis | {
        "autorange": "reversed",
        "tickfont": {"size": 10, "color": colours.muted},
        "tickmode": "array",
        "tickvals": names[::every],
        "ticktext": labels[::every],
    }
    map_: dict[str, Any] = {
        "type": "heatmap",
        "x": names,
        "y": names,
        "z": typed(matrix),
        "zmin": 0,
        "zmax": 1,
        "hoverongaps": False,
        "hovertemplate": "<b>%{y}</b><br><b>%{x}</b><br>%{z:.3f}<extra></extra>",
        **_scale(colours, {"nticks": 5}),
    }
    return Figure([map_], layout | {"hovermode": "closest"}, _likeness_told(values["names"], matrix))


def _likeness_told(names: list[str], matrix: Float32Array) -> str:
    told = f"{len(names)} layers."
    beside = np.diagonal(matrix, 1)
    if not np.isfinite(matrix).all() or not len(beside):
        return told if len(beside) == 0 else f"{told} Some likenesses are NaN."
    row, column = np.unravel_index(np.argmin(matrix), matrix.shape)
    return (
        f"{told} Neighbours are alike by {beside.mean():.2f} on average; least alike are {names[row]} and "
        f"{names[column]}, by {matrix[row, column]:.2f}."
    )


def _scale(colours: Palette, bar: dict[str, Any]) -> dict[str, Any]:
    bar = bar | {"thickness": 8, "outlinewidth": 0, "len": 1, "x": 1.01, "xpad": 4, "ypad": 0}
    return {
        "colorscale": [[i / (len(colours.scale) - 1), colour] for i, colour in enumerate(colours.scale)],
        "colorbar": bar | {"tickfont": {"color": colours.muted, "size": 10}},
    }


def _spectrum_told(values: Mapping[str, Any]) -> str:
    low, high = values["eigenvalues"][0], values["eigenvalues"][-1]
    return (
        f"{values['parameters']:,} eigenvalues from {low:.3g} to {high:.3g}; "
        f"trace {values['trace']:.4g} ± {values['trace_error']:.2g}."
    )


def _told(at: npt.NDArray[np.float32], losses: Float32Array) -> str:
    finite = losses[np.isfinite(losses)]
    middle = losses[(len(at) // 2,) * losses.ndim]
    broken = losses.size - finite.size
    return f"{middle:.4g} at the weights; from {finite.min():.4g} to {finite.max():.4g} within ±{at[-1]:g}." + (
        f" NaN or infinity at {broken} points." if broken else ""
    )


def _layout(options: Options, at: Float32Array) -> dict[str, Any]:
    layout = base_layout(options)
    layout["xaxis"] |= {"range": [float(at[0]), float(at[-1])], "tickformat": "", "fixedrange": True}
    return layout | {"hovermode": "closest"}


def _axis(colours: Palette) -> dict[str, Any]:
    return {
        "gridcolor": colours.grid,
        "linecolor": colours.grid,
        "tickfont": {"color": colours.muted},
        "zeroline": False,
        "fixedrange": True,
        "nticks": 6,
        "ticks": "",
    }


def _middle(colours: Palette) -> dict[str, Any]:
    line = {"color": colours.muted, "width": 1, "dash": "dot"}
    return {"type": "line", "layer": "below", "x0": 0, "x1": 0, "yref": "paper", "y0": 0, "y1": 1, "line": line}


def _broken(at: npt.NDArray[np.float32], colours: Palette) -> dict[str, Any]:
    return {
        "type": "scatter",
        "x": at,
        "y": np.full(len(at), 0.96, np.float32),
        "yaxis": "y2",
        "mode": "markers",
        "marker": {"symbol": "x", "size": 7, "color": colours.nonfinite},
        "hovertemplate": "NaN or infinity<extra></extra>",
    }


def _decades(low: float, high: float) -> int:
    return max(1, round(math.log10(high / low) / 5)) if high > low > 0 else 1
