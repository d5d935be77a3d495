"""Against numpy, module by module."""

import numpy as np
import pytest

from gyrostat.probes.units import Units

draw = np.random.default_rng(3)


def added(units: Units, leaves: list[int], squares: np.ndarray, scale: float = 1, variance: float = 0) -> None:
    units.add(leaves, squares, scale, squares != 0, np.full(len(leaves), variance))


def test_parts_of_a_step_add_up_in_any_order() -> None:
    units = Units()
    first, second, third = (draw.random((n, 7)) * (draw.random((n, 7)) < 0.6) for n in (3, 2, 3))
    added(units, [4, 0, 2], first)
    added(units, [2, 4], second.astype(np.float32), scale=10)
    added(units, [5, 5, 0], third)
    told = units.told(1)
    assert told is not None
    sums = {4: first[0] + 10 * second[1], 0: first[1] + third[2], 2: first[2] + 10 * second[0], 5: third[0] + third[1]}
    assert sorted(told.leaves) == [0, 2, 4, 5]
    for at, leaf in enumerate(told.leaves):
        ordered = np.sort(sums[leaf])
        assert told.dead[at] == (ordered == 0).mean()
        assert told.silent[at] == (ordered[0] == 0)
        assert told.known[at] == (ordered[3] != 0)
        if told.known[at]:
            assert told.outliers[at] == pytest.approx(np.sqrt(ordered[-1] / ordered[3]))


def test_each_width_of_a_module_counts_and_the_last_one_is_told() -> None:
    units = Units()
    for step in range(3):
        for width in (4, 6) if step < 2 else (6, 4):
            squares = np.ones((1, width))
            squares[0, 0] = 0
            added(units, [7], squares)
        told = units.told(3)
        assert told is not None
        units.forget()
        assert list(told.leaves) == [7]
        assert told.dead[0] == pytest.approx(1 / 6 if step < 2 else 1 / 4)
    silent, measured = units.silence()
    assert measured == {7: 3}
    np.testing.assert_array_equal(silent[7], [3, 0, 0, 0])


def test_what_is_known_of_silence_is_taken_up() -> None:
    units, other = Units(), Units()
    added(units, [1, 3], np.array([[0.0, 1, 2], [1, 0, 0]]))
    units.told(5)
    other.take_up(*units.silence())
    for of in (units, other):
        of.forget()
        added(of, [3, 1], np.array([[0.0, 0, 1], [0, 0, 1]]))
        told = of.told(2)
        assert told is not None
        assert dict(zip(told.leaves, told.dead, strict=True)) == pytest.approx({3: 1 / 3, 1: 1 / 3})
    assert units.silence()[1] == other.silence()[1] == {1: 2, 3: 2}


def test_more_parts_than_wait_add_up() -> None:
    units = Units()
    for _ in range(200):
        added(units, [0], np.array([[1.0, 2, 8]]))
    assert all(len(table.parts) <= 64 for table in units._tables.values())
    told = units.told(1)
    assert told is not None
    assert told.outliers[0] == pytest.approx(2)


def test_of_units_that_are_alike_a_sample_shows_no_outlier_and_one_that_is_shows_in_spite_of_others() -> None:
    size, width, ratios = 24, 300, []
    for outlier in (1.0, 8.0):
        for _ in range(30):
            x = draw.normal(size=(1, size, width))
            x[..., 9] *= outlier
            squares = (x**2).sum(1)
            variance = size * ((x**4).mean() - ((x**2).mean(1) ** 2).mean())
            units = Units()
            units.add([0], squares, 1, squares != 0, np.array([variance]))
            told = units.told(1)
            assert told is not None
            ratios.append(told.outliers[0])
    assert np.mean(ratios[:30]) == pytest.approx(1, abs=0.1)
    assert np.mean(ratios[30:]) == pytest.approx(8, rel=0.1)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_what_has_no_median_is_not_known(value: float) -> None:
    units = Units()
    added(units, [0, 1], np.array([[value, value, 4.0], [1, 1, value]]))
    told = units.told(1)
    assert told is not None
    assert told.known.tolist() == [value != 0, True]
    expected = np.array([1.0, 1, value])
    np.testing.assert_allclose(told.outliers[1], np.sqrt(expected.max()))
