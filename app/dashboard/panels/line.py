"""Scalars over steps: what to draw as data, then the traces."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from app.dashboard.panels.registry import Figure, Key, Options
from app.dashboard.panels.style import PALETTES, Palette, base_layout, mark_shapes, severity_colour, typed, wrapped
from app.series import Series
from gyrostat.wire.values import Float32Array, is_absent

FEW = 30
"""A curve of no more points shows each of them, and averaging would only move it away from them."""


class Line(NamedTuple):
    """One curve.

    Attributes:
        steps: (n,). values: (n,) the mean of each bucket's finite values, NaN where there are none.
        low, high: (n,) the band that the bucket spans; None where every value is a raw one.
        smooth: (n,) exponential average, None when smoothing is off.
        broken_steps: steps that hold NaN or infinity, and `broken_texts`, what each holds.
        newest: the last finite value, with its step; None where there is none.
    """

    label: str
    steps: npt.NDArray[np.int64]
    values: Float32Array
    low: Float32Array | None
    high: Float32Array | None
    smooth: Float32Array | None
    broken_steps: list[int]
    broken_texts: list[str]
    newest: tuple[int, float] | None


def line_of(series: Series, label: str, *, column: int = 0, weight: float = 0.0) -> Line:
    """One column of `series` as a curve; `weight` of the past (0 to below 1) smooths it."""
    last = series.values[:, column]
    absent = is_absent(last)
    values = series.mean[:, column] if series.mean is not None else np.where(np.isfinite(last), last, np.float32("nan"))
    broken = (~np.isfinite(last) & ~absent) if series.nonfinite is None else series.nonfinite[:, column] > 0
    texts = []
    for index in np.flatnonzero(broken):
        count = 1 if series.nonfinite is None else int(series.nonfinite[index, column])
        what = _spelled(float(last[index])) if not np.isfinite(last[index]) and not absent[index] else "NaN or infinity"
        texts.append(f"{label}: {what}" + (f", {count} values around this step" if count > 1 else ""))
    finite = np.flatnonzero(np.isfinite(values))
    newest = (int(series.steps[finite[-1]]), float(values[finite[-1]])) if len(finite) else None
    return Line(
        label=label,
        steps=series.steps,
        values=values.astype(np.float32),
        low=None if series.minimum is None else series.minimum[:, column],
        high=None if series.maximum is None else series.maximum[:, column],
        smooth=smoothed(values, weight) if weight > 0 and len(values) > FEW else None,
        broken_steps=series.steps[broken].tolist(),
        broken_texts=texts,
        newest=newest,
    )


def smoothed(values: npt.NDArray[Any], weight: float) -> Float32Array:
    """Exponential average of `values` (n,), bias-corrected as Adam's moments are; gaps stay gaps and carry nothing.

    Source: Kingma and Ba 2014, arXiv 1412.6980, section 3.
    """
    result = np.full(len(values), np.nan, dtype=np.float32)
    average, share = 0.0, 0.0
    for index, value in enumerate(values.tolist()):
        if np.isfinite(value):
            average = weight * average + (1 - weight) * value
            share = weight * share + (1 - weight)
            result[index] = average / share
    return result


def traces(line: Line, colour: str, number_format: str = ".4~g", dash: str = "solid") -> list[dict[str, Any]]:
    """The band, the faint raw curve behind a smoothed one, and the curve."""
    drawn: list[dict[str, Any]] = []
    if line.low is not None and line.high is not None:
        edge = {"x": line.steps, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "type": "scatter"}
        drawn.append({**edge, "y": typed(line.low)})
        drawn.append({**edge, "y": typed(line.high), "fill": "tonexty", "fillcolor": _faint(colour, 0.16)})
    if line.smooth is not None:
        raw = {"type": "scatter", "x": line.steps, "y": typed(line.values), "mode": "lines", "hoverinfo": "skip"}
        drawn.append({**raw, "line": {"color": _faint(colour, 0.32), "width": 1}})
    few = len(line.steps) <= FEW
    shown = line.values if line.smooth is None else line.smooth
    drawn.append(
        {
            "type": "scatter",
            "name": line.label,
            "x": line.steps,
            "y": typed(shown),
            "mode": "lines+markers" if few else "lines",
            "line": {"color": colour, "width": 1.7, "dash": dash},
            "marker": {"size": 5, "color": colour},
            "hovertemplate": "%{y:" + number_format + "}",
        }
    )
    return drawn


def curves(
    series: Mapping[str, Series], options: Options, labels: Mapping[str, str], *, log: bool, number_format: str = ".4~g"
) -> Figure:
    """A chart with a curve for each metric of `labels` that exists."""
    colours = PALETTES[options.theme].lines
    lines = [
        (line_of(series[metric], label, weight=options.smooth), colours[index], "solid")
        for index, (metric, label) in enumerate(labels.items())
        if metric in series
    ]
    return figure_of(lines, options, log=log if options.log is None else options.log, number_format=number_format)


def figure_of(
    lines: list[tuple[Line, str, str]], options: Options, *, log: bool, number_format: str = ".4~g"
) -> Figure:
    """A chart of curves, each with its colour and dash; NaN and alerts are markers at its top edge."""
    if not any(len(line.steps) for line, _, _ in lines):
        return Figure([], {}, "No values yet.")
    colours = PALETTES[options.theme]
    data = [trace for line, colour, dash in lines for trace in traces(line, colour, number_format, dash)]
    data += _top_markers([line for line, _, _ in lines], options, colours)
    layout = base_layout(options)
    layout |= {
        "hovermode": "x unified",
        "shapes": mark_shapes(options),
        "yaxis": {
            "type": "log" if log else "linear",
            "gridcolor": colours.grid,
            "linecolor": colours.grid,
            "tickfont": {"color": colours.muted},
            "zeroline": False,
            "fixedrange": True,
            "nticks": 6,
            **(_log_ticks(lines) if log else _range_of_one(lines)),
        },
        "yaxis2": {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True},
    }
    key = [Key(line.label, colour, dash != "solid") for line, colour, dash in lines] if len(lines) > 1 else []
    if any(line.broken_steps for line, _, _ in lines):
        key.append(Key("NaN or infinity", colours.nonfinite))
    return Figure(data, layout, " ".join(_sentence(line) for line, _, _ in lines), key=tuple(key))


def _top_markers(lines: list[Line], options: Options, colours: Palette) -> list[dict[str, Any]]:
    base = {
        "type": "scatter",
        "mode": "markers",
        "yaxis": "y2",
        "hovertemplate": "%{text}<extra></extra>",
        "cliponaxis": False,
    }
    drawn: list[dict[str, Any]] = []
    steps = [step for line in lines for step in line.broken_steps]
    if steps:
        marker = {"symbol": "x", "size": 8, "color": colours.nonfinite}
        texts = [wrapped(text) for line in lines for text in line.broken_texts]
        drawn.append({**base, "name": "NaN", "x": steps, "y": [0.96] * len(steps), "text": texts, "marker": marker})
    marks = [mark for mark in options.marks if options.first <= mark.step <= options.last]
    if marks:
        drawn.append(
            {
                **base,
                "name": "alerts",
                "x": [mark.step for mark in marks],
                "y": [1.0] * len(marks),
                "text": [wrapped(mark.text) for mark in marks],
                "marker": {
                    "symbol": "triangle-down",
                    "size": 11,
                    "color": [severity_colour(colours, mark) for mark in marks],
                },
            }
        )
    return drawn


def _log_ticks(lines: list[tuple[Line, str, str]]) -> dict[str, Any]:
    """Round numbers only: plotly's own labels of a short log axis (2, 5, and digits without their decade) mislead."""
    values = np.concatenate([part[np.isfinite(part) & (part > 0)] for line, _, _ in lines for part in _drawn(line)])
    if not len(values):
        return {}
    low, high = float(values.min()), float(values.max())
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    for mantissas in ((1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 5), (1, 3), (1,)):
        ticks = [mantissa * 10.0**decade for decade in decades for mantissa in mantissas]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= 6:
            break
    if len(ticks) < 2:
        ticks = _round_numbers(low, high)
    every = max(1, -(-len(ticks) // 6))
    return {"tickvals": ticks[::every], "ticktext": [f"{tick:.3g}".replace("e-0", "e-") for tick in ticks[::every]]}


def _range_of_one(lines: list[tuple[Line, str, str]]) -> dict[str, Any]:
    """From zero to twice the value where there is no other: plotly would show one more and one less of it."""
    values = np.concatenate([part[np.isfinite(part)] for line, _, _ in lines for part in _drawn(line)])
    if not len(values) or values.min() != values.max() or values[0] == 0:
        return {}
    return {"range": sorted((0.0, 2.0 * float(values[0])))}


def _round_numbers(low: float, high: float) -> list[float]:
    """About four multiples of 1, 2 or 5 times a power of ten; the ends where they are too close for that."""
    unit = 10.0 ** math.floor(math.log10(max(high - low, 1e-6 * high)))
    for step in (2 * unit, unit, unit / 2, unit / 5):
        ticks = [tick * step for tick in range(math.ceil(low / step), math.floor(high / step) + 1)]
        if len(ticks) >= 3:
            return ticks
    return [low, high]


def _drawn(line: Line) -> list[Float32Array]:
    return [part for part in (line.values, line.low, line.high) if part is not None]


def _sentence(line: Line) -> str:
    if line.newest is None:
        return f"{line.label}: no finite value."
    step, value = line.newest
    broken = f", NaN or infinity at {len(line.broken_steps)} points" if line.broken_steps else ""
    return f"{line.label}: {value:.4g} at step {step:,}{broken}."


def _spelled(value: float) -> str:
    return "NaN" if value != value else "infinity" if value > 0 else "minus infinity"


def _faint(colour: str, opacity: float) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"
