import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gyrostat.wire.values import ABSENT, ABSENT_BITS, from_json, is_absent, to_json

SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, 3.4028235e38, 0.1, 1 / 3]

floats = arrays.arrays(np.float32, arrays.array_shapes(min_dims=1, max_dims=2), elements=st.floats(width=32))


def test_the_mark_is_a_quiet_nan_with_its_own_bits() -> None:
    assert np.isnan(ABSENT)
    assert np.array([ABSENT]).view(np.uint32)[0] == ABSENT_BITS
    assert not is_absent(np.array([np.nan, np.inf, 0.0], dtype=np.float32)).any()


def test_the_mark_survives_copies_slices_float64_and_json() -> None:
    row = np.array([1.0, ABSENT, np.nan], dtype=np.float32)
    assert is_absent(row).tolist() == [False, True, False]
    assert is_absent(row.astype(np.float64).astype(np.float32)).tolist() == [False, True, False]
    assert is_absent(np.stack([row, row])[:, 1:2]).all()
    assert is_absent(from_json(json.loads(json.dumps(to_json(row))))).tolist() == [False, True, False]


def test_non_finite_numbers_are_strings_and_absent_is_null() -> None:
    row = np.array([[np.nan, np.inf], [-np.inf, ABSENT]], dtype=np.float32)
    assert to_json(row) == [["NaN", "Infinity"], ["-Infinity", None]]


def test_json_shows_the_shortest_decimal_of_the_float32() -> None:
    assert json.dumps(to_json(np.array([0.1, 16777216, 1e-3], dtype=np.float32))) == "[0.1, 16777216.0, 0.001]"


@given(floats)
def test_json_brings_back_every_float32(array: np.ndarray) -> None:
    text = json.dumps(to_json(array), allow_nan=False)
    np.testing.assert_array_equal(from_json(json.loads(text)).reshape(array.shape), array)


def test_json_brings_back_the_edges_bit_for_bit() -> None:
    array = np.array(SPECIAL, dtype=np.float32)
    back = from_json(json.loads(json.dumps(to_json(array))))
    assert back.view(np.uint32).tolist() == array.view(np.uint32).tolist()


def test_numbers_beyond_float32_become_infinite_without_a_warning() -> None:
    assert from_json([1e39, -1e39]).tolist() == [np.inf, -np.inf]
    assert from_json([1e39, "NaN"]).tolist()[0] == np.inf


@pytest.mark.parametrize(
    "value",
    [
        ["12"],
        ["nan"],
        [1.0, "12"],
        [True],
        [True, 1.5],
        [{}],
        {"a": 1},
        [[1, 2], [3]],
        [1, [2]],
        [None, "Inf"],
        [10**400],
        [10**400, None],
        ["x" * 1_000_000],
    ],
)
def test_what_is_not_a_number_is_refused(value: object) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011
        from_json(value)
    assert len(str(refused.value)) < 500


def test_lists_nested_without_end_are_refused() -> None:
    nested: list[object] = [None]
    for _ in range(5000):
        nested = [nested]
    with pytest.raises(ValueError, match="nested too deeply"):
        from_json(nested)


def test_nothing_is_nothing() -> None:
    assert from_json([]).shape == (0,)
    assert to_json(np.zeros(0, dtype=np.float32)) == []
    assert to_json(np.zeros((2, 0), dtype=np.float32)) == [[], []]
