import numpy as np
import torch

from gyrostat.probes.network import absent, index
from gyrostat.probes.packing import pack
from gyrostat.wire.values import is_absent

CPU = torch.device("cpu")


def test_numbers_and_tensors_of_any_dtype_become_one_float32_vector() -> None:
    readings = {
        "loss": 0.5,
        "count": 3,
        "vector": torch.tensor([1.0, 2.0], dtype=torch.float64),
        "scalar": torch.tensor(4.0, requires_grad=True),
        "one": torch.tensor([5], dtype=torch.int64),
        "none": torch.zeros(0),
        "huge": 1e300,
    }
    slices, fetch, arrived, num_bytes = pack(readings)
    assert arrived()
    assert num_bytes == 4 * 7
    vector = fetch()
    assert vector.dtype == np.float32
    assert slices["vector"] == (2, 4)
    assert slices["none"] == (6, 6)
    np.testing.assert_array_equal(vector, [0.5, 3, 1, 2, 4, 5, np.inf])


def test_the_mark_of_what_was_not_measured_survives_and_other_nans_do_not_become_it() -> None:
    values = absent(4, CPU)
    values[index([1, 2], CPU)] = torch.tensor([torch.nan, 2.0])
    vector = pack({"a": values, "b": float("nan"), "c": torch.tensor(torch.nan, dtype=torch.bfloat16)}).fetch()
    assert is_absent(vector).tolist() == [True, False, False, True, False, False]


def test_later_changes_of_a_tensor_do_not_reach_the_frame() -> None:
    value = torch.ones(2)
    packed = pack({"a": value})
    value.zero_()
    np.testing.assert_array_equal(packed.fetch(), [1, 1])
