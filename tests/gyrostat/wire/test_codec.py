import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gyrostat.wire import codec
from gyrostat.wire.values import ABSENT_BITS
from tests.gyrostat.wire.batches import batches, same, small_batch


@given(batches())
def test_msgpack_brings_back_every_bit(batch: Any) -> None:
    same(codec.decode_msgpack(codec.encode_msgpack(batch)), batch, bits=True)


@given(batches())
def test_json_brings_back_every_number(batch: Any) -> None:
    same(codec.decode_json(codec.encode_json(batch)), batch, bits=False)


def test_the_absent_mark_keeps_its_bits_through_both_forms() -> None:
    for back in (
        codec.decode_msgpack(codec.encode_msgpack(small_batch())),
        codec.decode_json(codec.encode_json(small_batch())),
    ):
        assert back.columns[1].values.view(np.uint32)[0, 1] == ABSENT_BITS
        assert np.isinf(back.columns[1].values[0, 2])
        assert back.columns[0].values.view(np.uint32)[1, 0] != ABSENT_BITS
        assert np.isnan(back.columns[0].values[1, 0])


def test_the_binary_form_is_the_documented_one() -> None:
    raw = msgspec.msgpack.decode(codec.encode_msgpack(small_batch()))
    assert np.frombuffer(raw["steps"], "<i8").tolist() == [3, 7]
    assert np.frombuffer(raw["times"], "<f8").tolist() == [1.7e9, 1.7e9 + 0.5]
    assert [column["metric"] for column in raw["columns"]] == ["loss.train", "gradient.norm"]
    assert np.frombuffer(raw["columns"][0]["rows"], "<u4").tolist() == [0, 1]
    assert np.frombuffer(raw["columns"][0]["values"], "<f4")[0] == 2.5
    assert "recalled" not in raw
    assert msgspec.msgpack.decode(codec.encode_msgpack(small_batch(recalled=True)))["recalled"] is True


def test_a_strided_column_is_written_row_by_row() -> None:
    column = small_batch().columns[1]
    turned = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    batch = small_batch(columns=(type(column)(metric="a.b", rows=np.array([0, 1], dtype=np.uint32), values=turned),))
    np.testing.assert_array_equal(codec.decode_msgpack(codec.encode_msgpack(batch)).columns[0].values, turned)


def document(**changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "producer": "by-hand",
        "sequence": 1,
        "attempt": 1,
        "layout": 1,
        "steps": [1, 2],
        "times": [10.0, 11],
        "columns": [
            {"metric": "loss.train", "values": [1, "NaN"]},
            {"metric": "gradient.norm", "rows": [1], "values": [[1.5, None]]},
        ],
    }
    return plain | changes


def test_json_by_hand_may_leave_out_rows_and_epochs() -> None:
    batch = codec.decode_json(json.dumps(document()).encode())
    assert batch.epochs.tolist() == [0, 0]
    assert batch.columns[0].rows.tolist() == [0, 1]
    assert batch.columns[0].values.shape == (2, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"producer": ""},
        {"producer": "a" * 65},
        {"producer": "a\0b"},
        {"producer": "a\n"},
        {"producer": "ü"},
        {"producer": 5},
        {"sequence": 0},
        {"sequence": 2**53 + 1},
        {"sequence": 10**40},
        {"sequence": "1"},
        {"attempt": -1},
        {"attempt": 2**31},
        {"layout": 0},
        {"layout": 1_000_001},
        {"steps": []},
        {"steps": [2, 1]},
        {"steps": [10**40, 10**41]},
        {"steps": [1.5, 2]},
        {"steps": None},
        {"times": ["NaN", 1]},
        {"times": [1.0]},
        {"epochs": [1.0]},
        {"columns": [{"metric": "a.b", "values": []}]},
        {"columns": [{"metric": "a.b", "values": [1]}]},
        {"columns": [{"metric": "a.b", "values": [True, 1.5]}]},
        {"columns": [{"metric": "a.b", "values": [[1], [1, 2]]}]},
        {"columns": [{"metric": "a.b", "values": [1, [1]]}]},
        {"columns": [{"metric": "a.b", "values": [[[1]], [[2]]]}]},
        {"columns": [{"metric": "a.b", "values": [[], []]}]},
        {"columns": [{"metric": "a.b", "values": ["1", "2"]}]},
        {"columns": [{"metric": "a.b", "rows": [2], "values": [1]}]},
        {"columns": [{"metric": "a.b", "rows": [-1], "values": [1]}]},
        {"columns": [{"metric": "a.b", "rows": [10**30], "values": [1]}]},
        {"columns": [{"metric": "a.b", "rows": [1, 0], "values": [1, 2]}]},
        {"columns": [{"metric": "a.b", "values": [1, 2]}, {"metric": "a.b", "values": [1, 2]}]},
        {"columns": [{"metric": "a.b", "values": [1, 2], "unit": "1"}]},
        {"colums": []},
    ],
)
def test_bad_json_is_a_value_error(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        codec.decode_json(json.dumps(document(**changes)).encode())


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b"null", b'{"producer": NaN}', b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b'"\\ud800"'],
)
def test_garbage_is_a_value_error_in_both_forms(body: bytes) -> None:
    for decode in (codec.decode_json, codec.decode_msgpack):
        with pytest.raises(ValueError):  # noqa: PT011
            decode(body)


def packed(**changes: Any) -> bytes:
    return msgspec.msgpack.encode(msgspec.msgpack.decode(codec.encode_msgpack(small_batch())) | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": b"1234567"},
        {"steps": b""},
        {"times": b""},
        {"producer": "x" * 1000},
        {"sequence": 2**64 - 1},
        {"sequence": -(2**63)},
        {"columns": [{"metric": "a.b", "rows": b"", "values": b""}]},
        {"columns": [{"metric": "a.b", "rows": b"\0\0\0\0", "values": b""}]},
        {"columns": [{"metric": "a.b", "rows": b"\0\0\0\0", "values": b"\0\0\0"}]},
        {"columns": [{"metric": "a.b", "rows": b"\0\0\0\0\1\0\0\0", "values": b"\0\0\0\0" * 3}]},
        {"columns": [{"metric": "a.b", "rows": b"\xff\xff\xff\xff", "values": b"\0\0\0\0"}]},
        {"columns": [{"rows": b"\0\0\0\0", "values": b"\0\0\0\0"}]},
        {"more": 1},
    ],
)
def test_bad_msgpack_is_a_value_error(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        codec.decode_msgpack(packed(**changes))


@pytest.mark.parametrize(
    "body",
    [
        b"\xdd\xff\xff\xff\xff",  # an array that claims four thousand million items
        b"\xdf\xff\xff\xff\xff",  # a map that claims as many
        b"\x81\xa8producer\xdb\xff\xff\xff\xff",  # a string of 4 GiB
        b"\x81\xa5steps\xc6\xff\xff\xff\xff",  # bytes of 4 GiB
        b"\x91" * 100_000,
        b"\xc1",
        b"\xc7\x01\x05\x00",  # an extension type
    ],
)
def test_hostile_sizes_are_refused_without_being_believed(body: bytes) -> None:
    with pytest.raises(ValueError, match="msgpack"):
        codec.decode_msgpack(body)


def test_a_body_cut_anywhere_is_a_value_error() -> None:
    for body, decode in (
        (codec.encode_msgpack(small_batch()), codec.decode_msgpack),
        (codec.encode_json(small_batch()), codec.decode_json),
    ):
        for length in range(len(body)):
            with pytest.raises(ValueError):  # noqa: PT011
                decode(body[:length])


@given(st.integers(0, 10_000), st.integers(0, 7))
def test_a_flipped_bit_is_a_value_error_or_another_sound_batch(position: int, bit: int) -> None:
    for body, decode in (
        (codec.encode_msgpack(small_batch()), codec.decode_msgpack),
        (codec.encode_json(small_batch()), codec.decode_json),
    ):
        broken = bytearray(body)
        broken[position % len(body)] ^= 1 << bit
        try:
            decode(bytes(broken))
        except ValueError:
            continue


@given(st.binary(max_size=300))
def test_random_bytes_raise_nothing_but_value_errors(body: bytes) -> None:
    for decode in (codec.decode_json, codec.decode_msgpack):
        with pytest.raises(ValueError):  # noqa: PT011
            decode(body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@given(st.sampled_from(sorted(document())), json_values)
def test_any_json_in_any_place_raises_nothing_but_value_errors(key: str, value: Any) -> None:
    try:
        batch = codec.decode_json(json.dumps(document(**{key: value})).encode())
    except ValueError:
        return
    assert len(batch.steps) == len(batch.times)


@given(json_values)
def test_any_json_as_values_raises_nothing_but_value_errors(value: Any) -> None:
    try:
        codec.decode_json(json.dumps(document(columns=[{"metric": "a.b", "values": value}])).encode())
    except ValueError:
        return
