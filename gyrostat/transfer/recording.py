"""What can be imported: points in a file or in memory, and what is known of the metrics and of the run."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from gyrostat.wire.layout import Axis, MetricDeclaration

POINTS = pa.schema([("step", pa.int64()), ("metric", pa.string()), ("name", pa.string()), ("value", pa.float32())])
BINS = 1 << 16
SECONDS, EPOCH = "progress.seconds", "progress.epoch"
"""Metrics that a backend makes itself, of each frame's time and epoch."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A run as it can be sent.

    Attributes:
        points: a dataset with the columns of POINTS, in any order of rows.
        declared: what is known of metrics by name; of others the axis is found from their points.
        names: order of the names along each axis, as far as it is known.
        name, project, tags, notes: of the run to make.
        state: how it ended: "finished", "failed" or "stopped".
    """

    points: ds.Dataset
    declared: Mapping[str, MetricDeclaration] = field(default_factory=dict)
    names: Mapping[Axis, list[str]] = field(default_factory=dict)
    name: str
    project: str = "default"
    tags: tuple[str, ...] = ()
    notes: str = ""
    state: str = "finished"


def of_parquet(path: Path) -> Recording:
    """The run in a Parquet file: points as they are exported, or a wide table with a column `step` and one a metric.

    Raises:
        ValueError: it is neither, or no Parquet file.
    """
    points = parquet(path)
    if set(POINTS.names) <= set(points.schema.names):
        return Recording(points=points, name=path.stem, project="imported")
    if "step" not in points.schema.names:
        have = ", ".join(points.schema.names[:8])
        raise ValueError(
            f"{path} has the columns {have}; it needs step, metric, name and value, or step and a column a metric"
        )
    table, declared = renamed(melted(points.to_table()))
    return Recording(points=ds.dataset(table), declared=declared, name=path.stem, project="imported")


def parquet(path: Path) -> ds.Dataset:
    """A Parquet file, read as it is needed; of points only those that have a value.

    Raises:
        ValueError: it is none.
    """
    try:
        found = ds.dataset(path, format="parquet")
        # of a thinned run, a point may have summaries alone
        return found.filter(ds.field("value").is_valid()) if set(POINTS.names) <= set(found.schema.names) else found
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(
            f"{path} cannot be read as Parquet: {error}; give a file that `gyrostat export` made"
        ) from error


def melted(wide: pa.Table) -> pa.Table:
    """A row of POINTS for each number of a table with a column `step` and one a metric; nulls have none.

    Raises:
        ValueError: a column holds something else than numbers.
    """
    steps = wide["step"].cast(pa.int64())
    parts = []
    for column in wide.column_names:
        if column == "step":
            continue
        try:
            values = wide[column].cast(pa.float32())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ValueError(f"column {column!r} holds {wide[column].type}, not numbers; leave it out") from error
        there = pc.is_valid(values)
        count = pc.sum(there).as_py() or 0
        texts = [pa.array([text], pa.string()).take(pa.array(np.zeros(count, dtype=np.int64))) for text in (column, "")]
        parts.append(pa.table([steps.filter(there), *texts, values.filter(there)], schema=POINTS))
    return pa.concat_tables(parts) if parts else POINTS.empty_table()


def columns(points: ds.Dataset) -> dict[str, list[str]]:
    """The names of each metric's columns, in order of their first point."""
    found: dict[str, dict[str, None]] = {}
    for batch in points.to_batches(columns=["metric", "name"]):
        pairs = pa.table(batch).group_by(["metric", "name"], use_threads=False).aggregate([])
        for metric, name in zip(pairs["metric"].to_pylist(), pairs["name"].to_pylist(), strict=True):
            found.setdefault(metric, {})[name] = None
    return {metric: list(names) for metric, names in found.items()}


def span(points: ds.Dataset) -> tuple[int, int]:
    """First and last step.

    Raises:
        ValueError: there are no points, or some before step 0.
    """
    ends = [pc.min_max(batch.column(0)).as_py() for batch in points.to_batches(columns=["step"]) if batch.num_rows]
    if not ends:
        raise ValueError("there are no points to import")
    first, last = min(each["min"] for each in ends), max(each["max"] for each in ends)
    if first < 0:
        raise ValueError(f"the smallest step is {first}; steps are counted from 0")
    return first, last


def windows(points: ds.Dataset, within: tuple[int, int], at_once: int) -> Iterator[pa.Table]:
    """The points by windows of steps, rising, of about `at_once` points each: a file need not fit into memory."""
    first, last = within
    width = -(-(last - first + 1) // BINS)
    counts = np.zeros(BINS, dtype=np.int64)
    for batch in points.to_batches(columns=["step"]):
        steps = batch.column(0).to_numpy(zero_copy_only=False)
        counts += np.bincount((steps - first) // width, minlength=BINS)
    window = (np.cumsum(counts) - 1) // at_once
    for number in np.unique(window[counts > 0]):
        inside = np.flatnonzero((window == number) & (counts > 0))
        low, high = first + int(inside[0]) * width, first + (int(inside[-1]) + 1) * width
        yield points.to_table(columns=POINTS.names, filter=(ds.field("step") >= low) & (ds.field("step") < high))


def metric_name(tag: str) -> str:
    """A metric's name for a tag of another tool: "Train/Loss" becomes `train.loss`, "lr" `imported.lr`."""
    parts = [re.sub(r"[^a-z0-9]+", "_", part).strip("_") for part in re.split(r"[/.]+", tag.lower())]
    parts = [(part if part[0].isalpha() else f"n{part}")[:44] for part in parts if part] or ["unnamed"]
    return ".".join(parts if len(parts) > 1 else ["imported", *parts])[:96].rstrip("._")


def renamed(points: pa.Table) -> tuple[pa.Table, dict[str, MetricDeclaration]]:
    """Scalars that have tags of another tool, under names that metrics may have, and what each is declared as."""
    given = points["metric"].unique().to_pylist()
    names: dict[str, str] = {SECONDS: SECONDS, EPOCH: EPOCH}
    for tag in given:
        if tag in names:
            continue
        name, number = metric_name(tag), 2
        while name in names.values():
            name, number = f"{metric_name(tag)[:90]}_{number}", number + 1
        names[tag] = name
    codes = place_of(points["metric"], given)
    column = pa.array([names[tag] for tag in given], pa.string()).take(pa.array(codes))
    told = {
        name: MetricDeclaration(name=name, unit="1", axis="run", description=f"Imported from the tag {tag[:900]!r}.")
        for tag, name in names.items()
        if tag not in (SECONDS, EPOCH)
    }
    return points.set_column(points.column_names.index("metric"), "metric", column), told


def place_of(values: pa.ChunkedArray, among: list[str]) -> npt.NDArray[np.int64]:
    """Where each of the strings stands in the list."""
    found: npt.NDArray[np.int64] = (
        pc.index_in(values, pa.array(among, pa.string()))
        .combine_chunks()
        .to_numpy(zero_copy_only=False)
        .astype(np.int64)
    )
    return found
