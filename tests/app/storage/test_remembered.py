import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from app.series import Rows, Series
from app.storage.blocks import LevelBlock
from app.storage.remembered import MAX_CHART_BYTES, Charts, Remembered

SHAPE = (1000, 100)
VARIED = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
PLANE_BYTES = VARIED.nbytes


def _block(**planes: np.ndarray) -> LevelBlock:
    steps = np.arange(SHAPE[0], dtype=np.int64)
    counts = np.ones(SHAPE[0], dtype=np.uint32)
    rows = Rows(first=steps, last=steps, counts=counts, planes=planes)
    return LevelBlock(rows=rows, child=steps, offset=counts)


def test_planes_that_come_one_after_the_other_are_kept_together() -> None:
    remembered = Remembered()
    remembered.keep(1, None, _block(maximum=VARIED), is_raw=False)
    assert remembered.look_up(1, None, ["maximum", "minimum"]) is None
    remembered.keep(1, None, _block(minimum=-VARIED), is_raw=False)
    found = remembered.look_up(1, None, ["maximum", "minimum"])
    assert found is not None
    np.testing.assert_array_equal(found.rows.planes["maximum"], -found.rows.planes["minimum"])
    assert remembered.look_up(2, None, ["maximum"]) is None


def test_what_was_given_is_returned_though_nothing_can_be_kept() -> None:
    remembered = Remembered(coarse_bytes=10)
    kept = remembered.keep(1, None, _block(maximum=VARIED, minimum=-VARIED), is_raw=False)
    assert {*kept.rows.planes} == {"maximum", "minimum"}
    assert remembered.look_up(1, None, ["maximum"]) is None


def test_columns_are_found_among_all_or_by_themselves() -> None:
    remembered, columns = Remembered(), np.array([3, 5])
    remembered.keep(1, columns, _block(maximum=VARIED[:, columns]), is_raw=False)
    assert remembered.look_up(1, None, ["maximum"]) is None
    assert remembered.look_up(1, np.array([3]), ["maximum"]) is None
    alone = remembered.look_up(1, columns, ["maximum"])
    remembered.keep(1, None, _block(maximum=VARIED), is_raw=False)
    among = remembered.look_up(1, columns, ["maximum"])
    one = remembered.look_up(1, np.array([5]), ["maximum"])
    assert alone is not None
    assert among is not None
    assert one is not None
    for found in (alone, among):
        np.testing.assert_array_equal(found.rows.planes["maximum"], VARIED[:, columns])
    np.testing.assert_array_equal(one.rows.planes["maximum"], VARIED[:, 5:6])


def test_a_plane_of_one_number_takes_the_room_of_one_and_others_theirs() -> None:
    zeros, signs = np.zeros(SHAPE, np.uint32), np.where(VARIED < 0, np.float32(-0.0), np.float32(0.0))
    remembered = Remembered(coarse_bytes=PLANE_BYTES)
    remembered.keep(1, None, _block(nonfinite=zeros, finite=zeros + 1), is_raw=False)
    kept = remembered.look_up(1, None, ["nonfinite", "finite"])
    assert kept is not None
    assert (kept.rows.planes["finite"] == 1).all()
    assert kept.rows.planes["nonfinite"].shape == SHAPE
    given = remembered.keep(2, None, _block(final=signs), is_raw=False)  # equal numbers, but not the same bits
    assert remembered.look_up(2, None, ["final"]) is None
    assert given.rows.planes["final"].tobytes() == signs.tobytes()


def test_rows_as_measured_have_room_of_their_own() -> None:
    remembered = Remembered(coarse_bytes=3 * PLANE_BYTES, raw_bytes=2 * PLANE_BYTES)
    for block_id in (1, 2, 3):
        remembered.keep(block_id, None, _block(final=VARIED), is_raw=True)
    remembered.keep(4, None, _block(final=VARIED), is_raw=False)
    assert [block_id for block_id in (1, 2, 3, 4) if remembered.look_up(block_id, None, ["final"])] == [3, 4]
    assert remembered.has_room_for([(False, PLANE_BYTES), (True, PLANE_BYTES)])
    assert not remembered.has_room_for([(True, PLANE_BYTES), (True, 1)])


def test_looks_at_a_block_are_counted() -> None:
    remembered = Remembered()
    assert [remembered.count_look(7) for _ in range(3)] == [1, 2, 3]
    assert remembered.count_look(8) == 1


def _chart(rows: int = SHAPE[0]) -> Series:
    values = np.ones((rows, SHAPE[1]), np.float32)
    return Series(
        metric="m", unit="1", axis="parameter", description="", names=("",), steps=np.arange(rows), values=values
    )


def _looks(charts: Charts, key: str, times: int, chart: Series | None = None) -> list[Series | None]:
    return [charts.get(key, lambda: chart) for _ in range(times)]


def test_a_chart_is_made_at_the_second_look_and_kept() -> None:
    charts, chart = Charts(), _chart()
    assert _looks(charts, "one", 2, chart) == [None, chart]
    assert _looks(charts, "one", 2) == [chart, chart]
    assert _looks(charts, "another", 1) == [None]


@pytest.mark.parametrize("can", [True, False])
def test_many_that_look_at_once_wait_for_one_chart(can: bool) -> None:
    charts, chart, made = Charts(), _chart(), []
    begun, go = threading.Event(), threading.Event()

    def make() -> Series | None:
        made.append(None)
        begun.set()
        assert go.wait(20)
        return chart if can else None

    assert charts.get("one", make) is None
    with ThreadPoolExecutor(9) as threads:
        second = threads.submit(charts.get, "one", make)
        assert begun.wait(20)
        others = [threads.submit(charts.get, "one", make) for _ in range(8)]
        go.set()
        assert [each.result(20) for each in (second, *others)] == [chart if can else None] * 9
    assert len(made) == 1


def test_who_waits_for_a_chart_that_fails_goes_its_own_way() -> None:
    charts, begun, go = Charts(), threading.Event(), threading.Event()

    def make() -> Series | None:
        begun.set()
        assert go.wait(20)
        raise KeyError

    assert charts.get("one", make) is None
    with ThreadPoolExecutor(2) as threads:
        second = threads.submit(charts.get, "one", make)
        assert begun.wait(20)
        third = threads.submit(charts.get, "one", make)
        go.set()
        assert third.result(20) is None
        with pytest.raises(KeyError):
            second.result(20)


def test_a_chart_that_cannot_be_made_is_not_tried_again() -> None:
    charts = Charts()
    assert _looks(charts, "one", 3) == [None, None, None]
    assert _looks(charts, "one", 1, _chart()) == [None]


def test_charts_that_are_kept_make_no_room_for_others_but_those_that_are_too_old_do() -> None:
    first, second = _chart(), _chart()
    charts = Charts(max_bytes=first.values.nbytes * 3 // 2, seconds=0.2)
    assert _looks(charts, "first", 3, first) == [None, first, first]
    assert _looks(charts, "second", 4, second) == [None, second, None, None]
    assert _looks(charts, "first", 1) == [first]
    time.sleep(0.25)
    assert _looks(charts, "second", 3, second) == [None, second, second]


def test_a_chart_beyond_all_measure_is_not_kept() -> None:
    large = _chart(MAX_CHART_BYTES // 4 // SHAPE[1])
    assert _looks(Charts(), "large", 3, large) == [None, large, None]


def test_planes_that_are_one_array_take_its_room_once() -> None:
    chart = _chart()
    chart = replace(chart, minimum=chart.values, maximum=chart.values, nonfinite=np.broadcast_to(np.uint32(0), SHAPE))
    charts = Charts(max_bytes=chart.values.nbytes + chart.steps.nbytes + 10_000)
    assert _looks(charts, "one", 3, chart) == [None, chart, chart]
