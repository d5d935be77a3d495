"""Batches for the tests of the wire, made by hypothesis or by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gyrostat.wire.frame import Batch, Column
from gyrostat.wire.values import ABSENT

names = st.from_regex(r"[a-z]{1,6}\.[a-z]{1,6}", fullmatch=True)
cells = st.floats(width=32) | st.just(float(ABSENT))


def small_batch(**changes: Any) -> Batch:
    """Two frames; a scalar in both, a vector of three in the second."""
    batch = Batch(
        producer="1-ab12",
        sequence=1,
        attempt=1,
        layout=1,
        steps=np.array([3, 7]),
        times=np.array([1.7e9, 1.7e9 + 0.5]),
        epochs=np.array([0.25, 0.5]),
        columns=(
            Column(
                metric="loss.train",
                rows=np.array([0, 1], dtype=np.uint32),
                values=np.array([[2.5], [np.nan]], dtype=np.float32),
            ),
            Column(
                metric="gradient.norm",
                rows=np.array([1], dtype=np.uint32),
                values=np.array([[0.1, ABSENT, np.inf]], dtype=np.float32),
            ),
        ),
    )
    return replace(batch, **changes)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    frames = draw(st.integers(1, 6))
    rising = draw(st.sets(st.integers(0, 2**53), min_size=frames, max_size=frames))
    columns = []
    for name in draw(st.lists(names, max_size=3, unique=True)):
        rows = sorted(draw(st.sets(st.integers(0, frames - 1), min_size=1)))
        width = draw(st.integers(1, 4))
        values = draw(arrays.arrays(np.float32, (len(rows), width), elements=cells))
        columns.append(Column(metric=name, rows=np.array(rows, dtype=np.uint32), values=values))
    return Batch(
        producer=draw(st.from_regex(r"[A-Za-z0-9._:-]{1,64}", fullmatch=True)),
        sequence=draw(st.integers(1, 2**53)),
        attempt=draw(st.integers(1, 2**31 - 1)),
        layout=draw(st.integers(1, 1_000_000)),
        steps=np.array(sorted(rising)),
        times=np.array(draw(st.lists(st.floats(0, 1e11), min_size=frames, max_size=frames))),
        epochs=np.array(
            draw(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=frames, max_size=frames))
        ),
        columns=tuple(columns),
        recalled=draw(st.booleans()),
    )


def same(one: Batch, other: Batch, *, bits: bool) -> None:
    """Fails where two batches differ; `bits` compares NaN payloads too."""
    for name in ("producer", "sequence", "attempt", "layout", "recalled"):
        assert getattr(one, name) == getattr(other, name)
    for name in ("steps", "times", "epochs"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert [column.metric for column in one.columns] == [column.metric for column in other.columns]
    for mine, theirs in zip(one.columns, other.columns, strict=True):
        np.testing.assert_array_equal(mine.rows, theirs.rows)
        np.testing.assert_array_equal(mine.values, theirs.values)
        if bits:
            assert mine.values.tobytes() == theirs.values.tobytes()
