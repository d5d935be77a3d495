import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.series import bucketed, joined, single_rows, starts_of_columns
from gyrostat.wire.values import ABSENT, is_absent


@given(st.lists(st.integers(0, 2**53), min_size=1, max_size=200, unique=True).map(sorted), st.integers(1, 300))
def test_rows_fall_into_at_most_as_many_columns_as_asked_for(steps, points):
    last = np.array(steps)
    starts = starts_of_columns(last, points)
    assert 1 <= len(starts) <= points
    assert starts[0] == 0
    assert (np.diff(starts) > 0).all()
    assert starts[-1] < len(last)


def test_columns_are_equally_wide_in_steps():
    last = np.concatenate([np.arange(0, 1000), np.arange(1099, 10_000, 100)])
    columns = np.split(last, starts_of_columns(last, 10)[1:])
    assert [len(column) for column in columns] == [1000, *[10] * 9]


def test_nothing_has_no_columns():
    nothing = single_rows(np.zeros(0, dtype=np.int64), np.zeros((0, 3), dtype=np.float32))
    assert len(starts_of_columns(nothing.last, 5)) == 0
    assert len(bucketed(nothing, starts_of_columns(nothing.last, 5))) == 0


def test_one_nan_in_a_million_rows_is_counted_and_one_spike_is_shown():
    values = np.ones((1_000_000, 1), dtype=np.float32)
    values[123_456] = np.nan
    values[777_777] = 1e30
    rows = single_rows(np.arange(1, 1_000_001), values)
    few = bucketed(rows, starts_of_columns(rows.last, 100))
    assert len(few) == 100
    assert few.planes["nonfinite"].sum() == 1
    assert few.planes["nonfinite"][12] == 1
    assert few.planes["maximum"][77] == np.float32(1e30)
    assert few.counts.sum() == 1_000_000


def test_means_of_buckets_of_buckets_are_weighted_by_their_finite_values():
    values = np.array([[1], [ABSENT], [np.inf], [4], [7]], dtype=np.float32)
    rows = single_rows(np.arange(5), values)
    halves = bucketed(rows, np.array([0, 3]))
    whole = bucketed(halves, np.array([0]))
    assert whole.planes["mean"][0, 0] == np.float32(4.0)
    assert (whole.planes["finite"][0, 0], whole.planes["nonfinite"][0, 0]) == (3, 1)


def test_a_bucket_that_measured_nothing_is_absent_and_one_without_a_finite_value_is_nan():
    values = np.array([[ABSENT, np.inf], [ABSENT, ABSENT]], dtype=np.float32)
    row = bucketed(single_rows(np.arange(2), values), np.array([0]))
    assert is_absent(row.planes["mean"]).tolist() == [[True, False]]
    assert np.isnan(row.planes["maximum"]).all()


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("longest", [2, 16, 100])
def test_buckets_of_any_lengths_hold_what_a_loop_over_their_rows_finds(longest, width):
    draw = np.random.default_rng(longest)
    sizes = draw.integers(1, longest, 50, endpoint=True)
    sizes[7] = 90  # as where the newest rows have not been put together yet
    values = draw.normal(size=(sizes.sum(), width)).astype(np.float32)
    values[draw.random(values.shape) < 0.3] = np.nan
    values[draw.random(values.shape) < 0.3] = ABSENT
    starts = np.cumsum(sizes) - sizes
    found = bucketed(single_rows(np.arange(len(values)), values), starts).planes
    assert {name: str(plane.dtype) for name, plane in found.items()} == {
        name: "uint32" if name in ("finite", "nonfinite") else "float32" for name in found
    }
    for bucket, start in enumerate(starts):
        for column in range(width):
            group = values[start : start + sizes[bucket], column]
            numbers = [float(value) for value in group if np.isfinite(value)]
            assert found["finite"][bucket, column] == len(numbers)
            assert found["nonfinite"][bucket, column] == sum(map(int, ~np.isfinite(group) & ~is_absent(group)))
            if numbers:
                assert found["minimum"][bucket, column] == min(numbers)
                assert found["maximum"][bucket, column] == max(numbers)
                assert found["mean"][bucket, column] == pytest.approx(np.mean(numbers), rel=1e-6, abs=1e-7)
            else:
                assert np.isnan(found["maximum"][bucket, column])


def test_joined_rows_keep_their_order():
    parts = [single_rows(np.array([step]), np.array([[step]], dtype=np.float32)) for step in (3, 1, 2)]
    assert joined(parts).last.tolist() == [3, 1, 2]
    assert joined(parts).take(np.array([1])).planes["final"].tolist() == [[1.0]]
