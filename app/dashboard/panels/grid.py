"""Layers over steps: what to draw as data, then the heatmap."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from app.dashboard.panels.registry import Figure, Key, Options
from app.dashboard.panels.style import PALETTES, base_layout, mark_shapes, safe, typed
from app.series import Series
from gyrostat.wire.values import Float32Array, is_absent

MAX_ROWS = 200
LABEL_LENGTH = 26
CHARACTER = 5.4
"""Width of a label's character in pixels, on average."""


class Grid(NamedTuple):
    """A map of layers over steps.

    Attributes:
        names: of the rows, in depth order, the first layer first; a group of layers is named by its first and last.
        labels: the same as short as beside the map; a group's is its first layer's.
        steps: (n,). values: (rows, n) largest finite value, NaN where there is none.
        broken: (rows, n) whether a NaN or infinity is among them.
        per_row: layers behind one row. things: what the layers are, in plural.
    """

    names: list[str]
    labels: list[str]
    steps: npt.NDArray[np.int64]
    values: Float32Array
    broken: npt.NDArray[np.bool_]
    per_row: int
    layers: int
    things: str = "layers"


def grid_of(series: Series, max_rows: int = MAX_ROWS) -> Grid:
    """`series` with at most `max_rows` rows: more layers are grouped with their neighbours, by their largest value."""
    last = series.values
    broken = (~np.isfinite(last) & ~is_absent(last)) if series.nonfinite is None else series.nonfinite > 0
    peaks = last if series.maximum is None else series.maximum
    peaks = np.where(np.isfinite(peaks), peaks, -np.inf)
    layers = last.shape[1]
    per_row = max(1, -(-layers // max_rows))
    starts = np.arange(0, layers, per_row)
    if len(starts):
        peaks = np.maximum.reduceat(peaks, starts, axis=1)
        broken = np.logical_or.reduceat(broken, starts, axis=1)
    return Grid(
        names=[_group_name(series.names[start : start + per_row]) for start in starts],
        labels=[shortened(series.names[start]) for start in starts],
        steps=series.steps,
        values=np.where(np.isfinite(peaks), peaks, np.nan).astype(np.float32).T,
        broken=broken.T,
        per_row=per_row,
        layers=layers,
        things={"head": "heads", "rank": "ranks", "eigenvalue": "eigenvalues"}.get(series.axis, "layers"),
    )


def figure_of(grid: Grid, options: Options, *, log: bool, quantity: str, percent: bool = False) -> Figure:
    """The heatmap of `grid`; non-finite cells have a colour of their own, what was not measured is transparent."""
    if not grid.values.size or not (grid.broken.any() or np.isfinite(grid.values).any()):
        return Figure([], {}, "No values yet.")
    colours = PALETTES[options.theme]
    rows = [safe(name) for name in grid.names]
    scale = [[i / (len(colours.scale) - 1), colour] for i, colour in enumerate(colours.scale)]
    shown, bar = coloured(grid.values, log, percent)
    number = ".1%" if percent else ".3~g"
    finite: dict[str, Any] = {
        "type": "heatmap",
        "x": grid.steps,
        "y": rows,
        "z": shown,
        "customdata": typed(grid.values),
        "colorscale": scale,
        "hoverongaps": False,
        "hovertemplate": "<b>%{y}</b><br>step %{x:,d}: %{customdata:" + number + "}<extra></extra>",
        "colorbar": bar | {"thickness": 8, "outlinewidth": 0, "len": 1, "x": 1.01, "xpad": 4, "ypad": 0,
                           "tickfont": {"color": colours.muted, "size": 10}},
    }  # fmt: skip
    if percent:
        finite |= {"zmin": 0, "zmax": 1}
    elif np.isfinite(shown).any() and float(np.nanmin(shown)) == float(np.nanmax(shown)):
        middle = float(np.nanmin(shown))
        value = float(np.nanmin(grid.values))
        finite |= {"zmin": middle - 0.5, "zmax": middle + 0.5}
        finite["colorbar"] |= {"tickvals": [middle], "ticktext": [f"{value:.3g}"]}  # no others are on the map
    data = [finite]
    if grid.broken.any():
        data.append(
            {
                "type": "heatmap",
                "x": grid.steps,
                "y": rows,
                "z": np.where(grid.broken, np.float32(1), np.float32("nan")).astype(np.float32),
                "colorscale": [[0, colours.nonfinite], [1, colours.nonfinite]],
                "showscale": False,
                "hoverongaps": False,
                "hovertemplate": "<b>%{y}</b><br>step %{x:,d}: NaN or infinity<extra></extra>",
            }
        )
    key = (Key("NaN or infinity", colours.nonfinite),) if grid.broken.any() else ()
    return Figure(data, _layout(grid, rows, options), _sentence(grid, quantity), _note(grid), key)


def _layout(grid: Grid, rows: list[str], options: Options) -> dict[str, Any]:
    colours = PALETTES[options.theme]
    layout = base_layout(options)
    left = 12 + CHARACTER * max(map(len, grid.labels))
    layout["margin"] = {"l": round(left), "r": 48, "t": 10, "b": 26, "autoexpand": False}
    layout["xaxis"] |= {"showgrid": False}
    every = max(1, -(-len(rows) // 16))
    layout |= {
        "hovermode": "closest",
        "shapes": [shape | {"layer": "above"} for shape in mark_shapes(options)],
        "yaxis": {
            "type": "category",
            "autorange": "reversed",
            "showgrid": False,
            "fixedrange": True,
            "ticks": "",
            "tickfont": {"size": 10, "color": colours.muted},
            "tickmode": "array",
            "tickvals": rows[::every],
            "ticktext": [safe(label) for label in grid.labels[::every]],
        },
    }
    return layout


def coloured(values: Float32Array, log: bool, percent: bool) -> tuple[Float32Array, dict[str, Any]]:
    """What the colours stand for, and the labels of their bar. On a log scale, zeros take the smallest colour."""
    if not log:
        return typed(values), {"tickformat": ".0%" if percent else f".{_digits(values)}~g", "nticks": 5}
    positive = values[np.isfinite(values) & (values > 0)]
    if not len(positive):
        return typed(np.where(np.isfinite(values), np.float32(0), np.float32("nan"))), {
            "tickvals": [0],
            "ticktext": ["0"],
        }
    floor = float(positive.min())
    shown = np.log10(np.where(np.isfinite(values), np.maximum(values, floor), np.nan)).astype(np.float32)
    ticks = _ticks(float(np.log10(floor)), float(np.log10(float(positive.max()))))
    return shown, {"tickvals": list(ticks), "ticktext": list(ticks.values())}


def _digits(values: Float32Array) -> int:
    """As many as tell the marks of a colour bar from one another."""
    finite = values[np.isfinite(values)]
    span = float(finite.max()) - float(finite.min()) if len(finite) else 0.0
    return 2 if not span else int(np.clip(1 + np.ceil(np.log10(4 * float(np.abs(finite).max()) / span)), 2, 6))


def _ticks(low: float, high: float) -> dict[float, str]:
    """Exponent -> label: whole decades, or four steps between where there are fewer than two."""
    if np.floor(high) - np.ceil(low) < 1:
        return {float(tick): f"{10**tick:.2g}" for tick in np.linspace(low, high, 4)}
    first, last = int(np.ceil(low)), int(np.floor(high))
    every = max(1, -(-(last - first) // 5))
    return {
        float(tick): f"{10.0**tick:g}" if -2 <= tick <= 3 else f"1e{tick}" for tick in range(first, last + 1, every)
    }


def shortened(name: str, length: int = LABEL_LENGTH) -> str:
    """`name` in at most `length` characters: its first parts abbreviated, then an ellipsis in its middle.

    The last two parts of a layer's name tell most, and its numbers are never dropped while there is room.
    """
    parts = name.split(".")
    for place in range(len(parts) - 2):
        if len(".".join(parts)) <= length:
            break
        parts[place] = parts[place] if parts[place].isdigit() else parts[place][:3]
    short = ".".join(parts)
    head = 2 * length // 5
    return short if len(short) <= length else f"{short[:head]}…{short[head + 1 - length :]}"


def _group_name(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"


def _note(grid: Grid) -> str:
    if grid.per_row == 1:
        return ""
    return f"{grid.layers:,} {grid.things}: each row shows the largest value of {grid.per_row}"


def _sentence(grid: Grid, quantity: str) -> str:
    broken = int(grid.broken.any(axis=1).sum())
    start = f"{quantity} of {grid.layers:,} {grid.things} over {len(grid.steps):,} steps."
    if not np.isfinite(grid.values).any():
        return f"{start} No value is finite."
    column = grid.values[:, np.isfinite(grid.values).any(axis=0)][:, -1]
    top, bottom = int(np.nanargmax(column)), int(np.nanargmin(column))
    largest = f"largest {column[top]:.3g} in {grid.names[top]}"
    now = f" Newest: {largest}, smallest {column[bottom]:.3g} in {grid.names[bottom]}."
    return start + now + (f" {broken} rows hold NaN or infinity." if broken else "")
