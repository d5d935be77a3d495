import numpy as np
import pytest

from gyrostat.wire.frame import Column, check
from tests.gyrostat.wire.batches import small_batch


def column(rows: list[int], values: list[list[float]], metric: str = "loss.train") -> Column:
    return Column(metric=metric, rows=np.array(rows, dtype=np.uint32), values=np.array(values, dtype=np.float32))


def test_a_sound_batch_passes_and_counts_its_points() -> None:
    check(small_batch())
    assert small_batch().num_points == 5


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"steps": np.array([], dtype=np.int64)}, "at least one frame"),
        ({"times": np.array([1.0])}, "as long as steps"),
        ({"epochs": np.array([1.0])}, "as long as steps"),
        ({"steps": np.array([3, 3])}, "rise"),
        ({"steps": np.array([7, 3])}, "rise"),
        ({"steps": np.array([-1, 3])}, "2\\^53"),
        ({"steps": np.array([-(2**63), 2**63 - 1])}, "2\\^53"),
        ({"times": np.array([np.nan, 1.0])}, "finite"),
        ({"times": np.array([-1.0, 1.0])}, "1970"),
        ({"times": np.array([1.0, 1e300])}, "1970"),
        ({"epochs": np.array([1.0, np.inf])}, "finite"),
        ({"columns": (column([0], [[1]]), column([1], [[1]]))}, "two columns"),
        ({"columns": (column([], []),)}, "no rows"),
        ({"columns": (column([0, 1], [[1]]),)}, "2 rows but values of shape"),
        ({"columns": (column([0], [[]]),)}, "values of shape"),
        ({"columns": (column([0, 2], [[1], [1]]),)}, "0..1"),
        ({"columns": (column([1, 0], [[1], [1]]),)}, "rise"),
        ({"columns": (column([1, 1], [[1], [1]]),)}, "rise"),
        ({"columns": (column([0, 2**32 - 1], [[1], [1]]),)}, "0..1"),
    ],
)
def test_a_batch_that_does_not_hold_together_is_refused(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        check(small_batch(**changes))
