import struct
import zlib
from dataclasses import replace

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from app.series import PLANES, Rows, bucketed, single_rows
from app.storage import blocks
from app.storage.blocks import DamagedBlock, LevelBlock
from app.storage.pyramid import FACTOR, FACTOR_ABOVE, above_level, above_raw, full_rows, level_for
from gyrostat.wire.values import ABSENT, is_absent

SPECIAL = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4e38, ABSENT], dtype=np.float32)


@st.composite
def matrices(draw, max_rows=40, max_width=6):
    """Any 32-bit patterns at all, with the special ones often among them."""
    shape = (draw(st.integers(1, max_rows)), draw(st.integers(1, max_width)))
    words = draw(hnp.arrays(np.uint32, shape)).view(np.float32)
    chosen = draw(hnp.arrays(np.int8, shape, elements=st.integers(-1, len(SPECIAL) - 1)))
    values = np.where(chosen >= 0, SPECIAL.view(np.uint32)[chosen], words.view(np.uint32)).view(np.float32)
    gaps = draw(hnp.arrays(np.int64, shape[0], elements=st.integers(1, 2**40)))
    return np.cumsum(gaps), values


@given(matrices())
def test_a_block_reads_back_bit_for_bit(matrix):
    steps, values = matrix
    read_steps, read_values = blocks.decode(blocks.encode(steps, values))
    np.testing.assert_array_equal(read_steps, steps)
    np.testing.assert_array_equal(read_values.view(np.uint32), values.view(np.uint32))


@given(matrices())
def test_a_level_block_reads_back_bit_for_bit(matrix):
    block = above_raw(*matrix, block_id=2**41)
    back = blocks.decode_level(blocks.encode_level(block))
    for name, wrote in _arrays(block.rows).items():
        read = _arrays(back.rows)[name]
        assert read.dtype == wrote.dtype
        np.testing.assert_array_equal(read.view(np.uint8), np.ascontiguousarray(wrote).view(np.uint8))
    np.testing.assert_array_equal(back.child, block.child)
    np.testing.assert_array_equal(back.offset, block.offset)


def _arrays(rows: Rows) -> dict[str, np.ndarray]:
    return {"first": rows.first, "last": rows.last, "counts": rows.counts, **rows.planes}


@given(matrices(), st.data())
def test_some_columns_and_planes_read_as_they_do_among_all(matrix, data):
    columns = np.array(data.draw(st.lists(st.integers(0, matrix[1].shape[1] - 1), unique=True)), dtype=np.int64)
    wanted = data.draw(st.lists(st.sampled_from(PLANES), unique=True))
    body = blocks.encode_level(above_raw(*matrix, block_id=5))
    whole, some = blocks.decode_level(body), blocks.decode_level(body, wanted, columns)
    assert set(some.rows.planes) == set(wanted)
    for name, plane in some.rows.planes.items():
        np.testing.assert_array_equal(plane.view(np.uint32), whole.rows.planes[name][:, columns].view(np.uint32))
    _, values = blocks.decode(blocks.encode(*matrix), columns)
    np.testing.assert_array_equal(values.view(np.uint32), matrix[1][:, columns].view(np.uint32))


def test_strided_and_read_only_input_is_stored_as_it_looks():
    values = np.arange(60, dtype=np.float32).reshape(6, 10)[::2, ::3]
    values.flags.writeable = False
    _, read = blocks.decode(blocks.encode(np.array([1, 5, 9]), values))
    np.testing.assert_array_equal(read, values)


@pytest.mark.parametrize("plane", [np.zeros((3, 2), dtype=np.uint64), np.zeros((2, 2), dtype=np.uint32)])
def test_a_plane_that_no_reader_could_make_sense_of_is_not_written(plane):
    rows = single_rows(np.arange(3), np.ones((3, 2), dtype=np.float32))
    odd = replace(rows, planes={**rows.planes, "finite": plane})
    with pytest.raises(ValueError, match="plane finite"):
        blocks.pack_level(LevelBlock(rows=odd, child=np.zeros(3, dtype=np.int64), offset=np.zeros(3, dtype=np.uint32)))


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, blocks.MAX_VALUES + 1)])
def test_an_impossible_shape_is_not_written(shape):
    with pytest.raises(ValueError, match="holds 1"):
        blocks.encode(np.zeros(shape[0], dtype=np.int64), np.broadcast_to(np.float32(1), shape))


BODY = blocks.encode(np.arange(1, 51), np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32))


@given(st.integers(0, len(BODY) - 1), st.integers(1, 255))
def test_any_changed_byte_is_noticed(position, change):
    damaged = bytearray(BODY)
    damaged[position] ^= change
    with pytest.raises(DamagedBlock):
        blocks.decode(bytes(damaged))


@given(st.integers(0, len(BODY) - 1))
def test_a_cut_off_block_is_noticed(length):
    with pytest.raises(DamagedBlock):
        blocks.decode(BODY[:length])


@given(st.binary(max_size=200))
def test_garbage_is_no_block(garbage):
    for read in (blocks.decode, blocks.decode_level):
        with pytest.raises(DamagedBlock):
            read(garbage)
        with pytest.raises(DamagedBlock):
            read(b"GYRB" + garbage)


def _forged(rows: int, width: int, frames: list[bytes], *, kind: int = 0, version: int = 1, lengths=None) -> bytes:
    head = struct.pack("<4sBBHII", b"GYRB", version, kind, len(frames), rows, width)
    rest = struct.pack(f"<{len(frames)}I", *(lengths or map(len, frames))) + b"".join(frames)
    return head + struct.pack("<I", zlib.crc32(head + rest)) + rest


def test_hostile_sizes_with_a_right_checksum_are_refused_before_memory_is_taken():
    compress = zstandard.ZstdCompressor().compress
    bomb = compress(bytes(1 << 28))
    steps = compress(bytes(8))
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(4))
    for body in (
        _forged(2**32 - 1, 2**32 - 1, [steps, steps]),
        _forged(1, blocks.MAX_VALUES + 1, [steps, steps]),
        _forged(1, 1, [steps, bomb]),
        _forged(1, 1, [steps, unsized]),
        _forged(1, 1, [steps, compress(bytes(4)) + b"more"]),
        _forged(1, 1, [steps, b"no zstd frame"]),
        _forged(0, 1, [steps, steps]),
        _forged(1, 1, []),
        _forged(1, 1, [steps], lengths=[2**31]),
        _forged(1, 1, [steps, compress(bytes(4))], kind=1),
    ):
        with pytest.raises(DamagedBlock):
            blocks.decode(body)


def test_a_newer_format_says_so():
    with pytest.raises(DamagedBlock, match="version 3; this program reads 2: update"):
        blocks.decode(_forged(1, 1, [b"", b""], version=3))


@given(matrices())
def test_rows_kept_as_they_came_read_back_bit_for_bit(matrix):
    steps, values = matrix
    read_steps, read_values = blocks.decode(blocks.encode_arrived(steps, values))
    np.testing.assert_array_equal(read_steps, steps)
    np.testing.assert_array_equal(read_values.view(np.uint32), values.view(np.uint32))


ARRIVED = blocks.encode_arrived(np.arange(1, 6), np.arange(10, dtype=np.float32).reshape(5, 2))


@given(st.integers(0, len(ARRIVED) - 1), st.integers(1, 255))
def test_any_changed_byte_of_rows_as_they_came_is_noticed(position, change):
    damaged = bytearray(ARRIVED)
    damaged[position] ^= change
    with pytest.raises(DamagedBlock):
        blocks.decode(bytes(damaged))


def test_rows_as_they_came_must_fill_the_block_and_have_its_version():
    steps, values = np.arange(2).tobytes(), bytes(16)
    assert blocks.decode(_forged(2, 2, [steps, values], kind=2, version=2))[1].shape == (2, 2)
    for body in (
        _forged(2, 2, [steps, values[:12]], kind=2, version=2),
        _forged(2, 2, [steps[:8], values], kind=2, version=2),
        _forged(2, 2, [steps, values], kind=2, version=1),
        _forged(2, 2, [steps, values], kind=0, version=2),
    ):
        with pytest.raises(DamagedBlock):
            blocks.decode(body)


@given(
    hnp.arrays(np.uint16, st.tuples(st.integers(1, 4).map(lambda n: n * FACTOR), st.integers(1, 4))),
    st.integers(0, 110),
)
def test_finite_rows_are_summed_up_quickly_as_they_are_slowly(words, exponent):
    values = np.ldexp(words.astype(np.float32) - 30000, exponent)
    steps = np.arange(len(values)) * 3
    quick = above_raw(steps, values, 1).rows
    slow = bucketed(single_rows(steps, values), np.arange(0, len(steps), FACTOR))
    for name, found in _arrays(quick).items():
        assert found.dtype == _arrays(slow)[name].dtype
        np.testing.assert_array_equal(found, _arrays(slow)[name])


def test_the_sizes_promised_are_kept():
    rng = np.random.default_rng(1)
    walk = np.exp(np.cumsum(rng.normal(size=(1024, 50)) * 0.01, axis=0)).astype(np.float32)
    body = blocks.encode(np.arange(1, 1025), walk)
    level = blocks.encode_level(above_raw(np.arange(1, 1025), walk, 1))
    assert len(body) / walk.size < 3.0
    assert (len(body) + len(level) * FACTOR / (FACTOR - 1)) / walk.size < 4.5


@settings(max_examples=50)
@given(matrices(max_rows=600, max_width=3))
def test_two_levels_up_equal_numpy_over_the_raw_rows(matrix):
    steps, values = matrix
    two = above_level(above_raw(steps, values, 7), 8)
    size = FACTOR * FACTOR_ABOVE
    assert len(two.rows) == -(-len(steps) // size)
    for index in range(len(two.rows)):
        _check(two, index, steps[index * size :][:size], values[index * size :][:size])
    assert (two.child == 8).all()
    np.testing.assert_array_equal(two.offset, np.arange(len(two.rows)) * FACTOR_ABOVE)


def _check(block: LevelBlock, index: int, steps: np.ndarray, values: np.ndarray) -> None:
    row = block.rows
    assert (row.first[index], row.last[index], row.counts[index]) == (steps[0], steps[-1], len(steps))
    np.testing.assert_array_equal(row.planes["final"][index].view(np.uint32), values[-1].view(np.uint32))
    for column in range(values.shape[1]):
        present = values[:, column][~is_absent(values[:, column])]
        finite = present[np.isfinite(present)].astype(np.float64)
        assert row.planes["nonfinite"][index, column] == len(present) - len(finite)
        assert row.planes["finite"][index, column] == len(finite)
        found = np.array(
            [
                row.planes["minimum"][index, column],
                row.planes["mean"][index, column],
                row.planes["maximum"][index, column],
            ]
        )
        if len(finite):
            assert found[0] == finite.min()
            assert found[2] == finite.max()
            np.testing.assert_allclose(found[1], finite.mean(), rtol=1e-5, atol=1e-6 * np.abs(finite).max() + 3e-45)
        else:
            assert np.isnan(found).all()
            assert is_absent(found).all() == (len(present) == 0)


def test_single_rows_keep_what_was_measured():
    rows = single_rows(np.array([3]), SPECIAL[None])
    np.testing.assert_array_equal(rows.planes["nonfinite"][0], [1, 1, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(rows.planes["finite"][0], [0, 0, 0, 1, 1, 1, 0])
    assert np.isnan(rows.planes["maximum"][0, :3]).all()
    assert is_absent(rows.planes["mean"][0]).tolist() == [False] * 6 + [True]


@given(st.integers(1, 20_000), st.integers(1, 5000), st.integers(1, 10**12))
def test_a_level_is_fine_enough_but_no_finer(width, points, rows):
    assert full_rows(width) % FACTOR == 0
    levels = [rows, rows // FACTOR]
    while levels[-1] >= FACTOR_ABOVE:
        levels.append(levels[-1] // FACTOR_ABOVE)
    level = level_for(levels, points, width)
    if rows <= max(8 * points, 4 * full_rows(width)):
        assert level == 0
    elif 2 * levels[1] >= points:
        assert points <= 2 * levels[level] < FACTOR_ABOVE * (points + 2), "at most twice what is drawn"
    else:
        assert level == 1


@pytest.mark.parametrize("missing", [1, 2, 5])
def test_levels_that_are_not_there_yet_are_not_read(missing):
    levels = [10**6, 62_500, 15_625, 3_906, 976, 244][:-missing]
    assert level_for(levels, 100, 1) == max(1, len(levels) - 1) - (len(levels) == 1)
