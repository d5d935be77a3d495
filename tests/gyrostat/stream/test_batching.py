import math
from dataclasses import replace

import numpy as np
import pytest

from gyrostat.stream.batching import MAX_FRAMES, TARGET_BYTES, Gathering, fault, size_of
from gyrostat.stream.ledger import Count
from gyrostat.wire import codec
from tests.gyrostat.stream.frames import frame, layout, points

WIDTHS = {metric.name: layout().width(metric.name) or 0 for metric in layout().metrics}


def gathered(*steps: int, width: int = 3) -> Gathering:
    gathering = Gathering()
    for step in steps:
        made = frame(step, width=width)
        assert gathering.fits(made)
        gathering.add(made, made.fetch())
    return gathering


def test_frames_of_rows_become_columns() -> None:
    gathering = gathered(1, 2, 3, 4)
    batch = codec.decode_msgpack(gathering.encoded(producer="p", sequence=5, attempt=2))
    assert (batch.producer, batch.sequence, batch.attempt, batch.layout) == ("p", 5, 2, 1)
    assert batch.steps.tolist() == [1, 2, 3, 4]
    loss, norm = batch.columns
    assert loss.values.ravel().tolist() == [0.5, 1, 1.5, 2]
    assert norm.rows.tolist() == [0, 1, 3]
    assert norm.values.tolist() == [[1, 2, 3], [2, 3, 4], [4, 5, 6]]
    assert gathering.count == Count(4, batch.num_points) == Count(4, points(range(1, 5)))


def test_values_are_copied_since_buffers_go_round() -> None:
    made, buffer = frame(1), np.arange(4, dtype=np.float32)
    gathering = Gathering()
    gathering.add(made, buffer)
    buffer[:] = -1
    batch = codec.decode_msgpack(gathering.encoded(producer="p", sequence=1, attempt=1))
    assert batch.columns[1].values.tolist() == [[1, 2, 3]]


def test_only_a_later_step_of_the_same_layout_joins() -> None:
    gathering = gathered(5)
    assert gathering.fits(frame(6))
    assert not gathering.fits(frame(5))
    assert not gathering.fits(frame(4))
    assert not gathering.fits(frame(6, version=2))


def test_recalled_frames_and_others_are_in_batches_of_their_own() -> None:
    recalled = replace(frame(7), recalled=True)
    assert not gathered(5).fits(recalled)
    gathering = Gathering()
    gathering.add(recalled, recalled.fetch())
    assert not gathering.fits(frame(8))
    assert gathering.fits(replace(frame(8), recalled=True))
    assert codec.decode_msgpack(gathering.encoded(producer="p", sequence=1, attempt=1)).recalled
    assert not codec.decode_msgpack(gathered(5).encoded(producer="p", sequence=1, attempt=1)).recalled


def test_of_a_vector_that_holds_more_than_the_frame_s_slices_only_these_are_sent() -> None:
    made = frame(1)
    part = replace(made, slices={"gradient.norm": made.slices["gradient.norm"]})
    gathering = Gathering()
    gathering.add(part, made.fetch())
    (column,) = codec.decode_msgpack(gathering.encoded(producer="p", sequence=1, attempt=1)).columns
    assert column.values.tolist() == [[1, 2, 3]]


def test_a_batch_ends_at_its_largest_number_of_frames() -> None:
    gathering = gathered(*range(3, 3 * MAX_FRAMES + 3, 3))
    assert not gathering.fits(frame(10_000))


def test_a_batch_ends_at_its_size_and_a_larger_frame_goes_alone() -> None:
    width, steps = 10_000, []
    gathering = Gathering()
    for step in (1, 2, 4, 5, 7, 8, 10, 11):
        made = frame(step, width=width)
        if gathering.fits(made):
            gathering.add(made, made.fetch())
            steps.append(step)
    body = gathering.encoded(producer="p", sequence=1, attempt=1)
    assert steps == [1, 2, 4, 5, 7, 8]
    assert len(body) <= TARGET_BYTES
    huge = frame(13, width=1_000_000)
    assert Gathering().fits(huge)
    assert not gathering.fits(huge)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"slices": {}}, None),
        ({"step": -1}, "malformed"),
        ({"step": 2**53 + 1}, "malformed"),
        ({"time": math.nan}, "malformed"),
        ({"time": -1.0}, "malformed"),
        ({"epoch": math.inf}, "malformed"),
        ({"slices": {"loss.train": (0, 2)}}, "malformed"),
        ({"slices": {"gradient.norm": (0, 2)}}, "malformed"),
        ({"slices": {"gradient.norm": (-3, 0)}}, "malformed"),
        ({"slices": {"not.declared": (0, 1)}}, "malformed"),
    ],
)
def test_one_frame_that_does_not_fit_is_found_before_it_spoils_its_batch(
    changes: dict[str, object], reason: str | None
) -> None:
    assert fault(replace(frame(1), **changes), WIDTHS) == reason


def test_a_frame_of_a_layout_never_declared_is_refused() -> None:
    assert fault(frame(1), None) == "layout_unknown"


@pytest.mark.parametrize("vector", [np.zeros(3, np.float32), np.zeros(4), np.zeros((2, 4), np.float32)])
def test_a_vector_that_does_not_hold_the_slices_is_refused_and_leaves_nothing(vector: np.ndarray) -> None:
    gathering = gathered(1)
    with pytest.raises(ValueError, match="expected at least 4 float32"):
        gathering.add(frame(2), vector)
    assert gathering.count.frames == 1
    codec.decode_msgpack(gathering.encoded(producer="p", sequence=1, attempt=1))


def test_a_frame_knows_its_size_without_its_values() -> None:
    assert size_of(frame(1)) == Count(1, 4)
    assert size_of(frame(3)) == Count(1, 1)
