"""What a training of 100 layers sends: ten metrics a layer, noisy and drifting as norms are, in batches of frames."""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gyrostat.wire.frame import Batch, Column
from gyrostat.wire.layout import Layout, MetricDeclaration

LAYERS = 100
UNWATCHED = tuple(f"bench.metric_{index}" for index in range(10))
WATCHED = (
    "gradient.norm",
    "weight.norm",
    "update.ratio",
    "activation.rms",
    "activation.max_abs",
    "activation.zero_fraction",
    *UNWATCHED[:4],
)
"""Metrics of layers that detectors read, made up to ten."""
WATCHED_SCALARS = ("loss.train", "gradient.global_norm", "optimizer.learning_rate", "curvature.sharpness_over_limit")
NOISE, DRIFT = 0.05, 0.02


def layout(vectors: Sequence[str], scalars: Sequence[str] = ()) -> Layout:
    """Names and metrics of such a run."""
    names = [f"layers.{index}.weight" for index in range(LAYERS)]
    declared = [MetricDeclaration(name=name, unit="1", axis="parameter") for name in vectors]
    declared += [MetricDeclaration(name=name, unit="1", axis="run") for name in scalars]
    return Layout(version=1, axes={"parameter": names}, metrics=declared)


def batches(steps: int, frames: int, vectors: Sequence[str], scalars: Sequence[str] = ()) -> list[Batch]:
    """A healthy run of so many steps, cut into batches of `frames`, numbered from 2 on (1 is the layout)."""
    random = np.random.default_rng(0)
    shape = (len(vectors), steps, LAYERS)
    drift = random.normal(0, DRIFT, shape).cumsum(axis=1) / 8 + random.normal(0, NOISE, shape)
    values = np.minimum(np.exp(drift) * 1e-3, 0.5).astype(np.float32)
    level = (np.exp(random.normal(0, NOISE, (len(scalars), steps))) * 0.5).astype(np.float32)
    made = []
    for sequence, start in enumerate(range(0, steps, frames), 2):
        part = slice(start, min(start + frames, steps))
        count = part.stop - start
        rows = np.arange(count, dtype=np.uint32)
        columns = [Column(metric=name, rows=rows, values=values[i, part]) for i, name in enumerate(vectors)]
        columns += [Column(metric=name, rows=rows, values=level[i, part, None]) for i, name in enumerate(scalars)]
        batch = Batch(
            producer="bench",
            sequence=sequence,
            attempt=1,
            layout=1,
            steps=np.arange(start + 1, start + 1 + count),
            times=np.full(count, time.time()),
            epochs=np.zeros(count),
            columns=tuple(columns),
        )
        made.append(batch)
    return made


def moved(batch: Batch, sequence: int, steps: int) -> Batch:
    """The batch once more, under another number and so many steps later; its values slightly larger each time."""
    columns = tuple(replace(each, values=each.values * np.float32(1 + 1e-3 * sequence)) for each in batch.columns)
    return replace(batch, sequence=sequence, steps=batch.steps + steps, columns=columns)
