import threading
import time

import numpy as np
import pytest
from sqlalchemy import select, update

from app.services import metrics
from app.services.maintenance import Merger, merge_some
from app.storage import merging
from app.storage.database import Database, Session
from app.storage.pyramid import FACTOR, FACTOR_ABOVE, full_rows
from app.storage.tables import Block, Metric
from gyrostat.wire.values import ABSENT
from tests.app.measured import SCALAR, VECTOR, Sender, make_layout, start

RNG = np.random.default_rng(3)


def _blocks(database: Database, metric: str = VECTOR) -> list[tuple[int, bool, int]]:
    with database.read() as session:
        query = select(Block.level, Block.sealed, Block.rows).join(Metric).where(Metric.name == metric)
        return sorted(tuple(row) for row in session.execute(query))


def _merge_all(database: Database) -> int:
    total = 0
    while done := merge_some(database):
        total += done
    return total


def _values(rows: int, width: int = 3) -> np.ndarray:
    values = RNG.normal(size=(rows, width)).astype(np.float32)
    chosen = RNG.integers(0, 40, size=values.shape)
    return np.select([chosen == 0, chosen == 1, chosen == 2], [ABSENT, np.nan, np.inf], values).astype(np.float32)


def _read(database: Database, **asked: object):
    with database.read() as session:
        return metrics.series(session, "r1", VECTOR, **asked)


def test_small_blocks_become_full_ones_with_levels_above_and_every_value_is_kept(database: Database) -> None:
    sender, values = start(database), _values(2500)
    for first in range(0, 2500, 100):
        sender.frames(np.arange(first, first + 100), {VECTOR: values[first : first + 100]})
    assert _merge_all(database) > 0
    assert _blocks(database) == [
        (0, False, 2500 - 2048),
        (0, True, 1024),
        (0, True, 1024),
        (1, False, 2048 // FACTOR),
    ]
    series = _read(database)
    np.testing.assert_array_equal(series.steps, np.arange(2500))
    np.testing.assert_array_equal(series.values.view(np.uint32), values.view(np.uint32))


def test_merging_again_changes_nothing(database: Database) -> None:
    sender = start(database)
    for first in range(0, 1700, 100):
        sender.frames(np.arange(first, first + 100), {VECTOR: _values(100)})
    _merge_all(database)
    before = _blocks(database)
    assert merge_some(database) == 0
    assert _blocks(database) == before


def test_few_small_blocks_are_left_alone_and_many_become_one(database: Database) -> None:
    sender = start(database)
    for step in range(merging.MANY - 1):
        sender.frames([step], {VECTOR: _values(1)})
    assert merge_some(database) == 0
    sender.frames([100], {VECTOR: _values(1)})
    _merge_all(database)
    assert _blocks(database) == [(0, False, merging.MANY)]


def test_a_merge_reads_no_more_than_it_may_hold() -> None:
    most = merging.VALUES_AT_ONCE
    assert merging.taken_together([]) == []
    assert merging.taken_together([(5, most - 1), (7, 1), (8, 1), (9, 1)]) == [5, 7]
    assert merging.taken_together([(5, 2 * most), (7, 1)]) == [5]
    assert merging.taken_together([(5, 1), (7, 2 * most), (8, 1)]) == [5]


def test_what_was_merged_is_written_anew_only_when_as_much_has_come_again(sqlite_database: Database) -> None:
    sender, sums = start(sqlite_database), []
    for step in range(320):
        sender.frames([step], {VECTOR: _values(1)})
        if step % 8 == 7:
            merge_some(sqlite_database)
            sums.append(sum(rows for level, _, rows in _blocks(sqlite_database) if level == 0))
            assert len(_blocks(sqlite_database)) < 4 * merging.MANY + 8
    assert sums == list(range(8, 321, 8))
    sizes = sorted((rows for _, _, rows in _blocks(sqlite_database)), reverse=True)
    assert sizes[0] >= 128
    assert set(sizes[1:]) <= {1}


def test_of_a_step_that_came_twice_the_later_row_stays_when_it_comes_amid_a_merge(database: Database) -> None:
    sender = start(database)
    for step in range(merging.MANY):
        sender.frames([step], {SCALAR: np.float32([[step]])})
    with database.read() as session:
        group = next(group for group in merging.due(session, 10) if _name(session, group) == SCALAR)
        merge = merging.plan(session, group)
    assert merge is not None
    sender.frames([3], {SCALAR: np.float32([[-1]])})
    with pytest.raises(merging.Raced, match="meanwhile"):
        database.write(lambda session: merging.carry_out(session, merge))
    _merge_all(database)
    with database.read() as session:
        assert metrics.series(session, "r1", SCALAR).values[3] == -1


def _name(session: Session, group: merging.Group) -> str:
    return session.get_one(Metric, group.metric_id).name


def test_a_wide_metric_is_sealed_by_its_size(sqlite_database: Database) -> None:
    names = [f"m{n}" for n in range(2000)]
    sender = start(sqlite_database, names=names)
    full = full_rows(2000)
    assert full == 32
    sender.frames(np.arange(full * 2 + 5), {VECTOR: _values(full * 2 + 5, 2000)})
    _merge_all(sqlite_database)
    assert _blocks(sqlite_database) == [(0, False, 5), (0, True, 32), (0, True, 32), (1, False, 4)]


def test_levels_grow_as_high_as_there_are_rows(sqlite_database: Database) -> None:
    sender, rows = start(sqlite_database), 1024 * 20
    values = RNG.normal(size=(rows, 3)).astype(np.float32)
    for first in range(0, rows, 4096):
        sender.frames(np.arange(first, first + 4096), {VECTOR: values[first : first + 4096]})
    _merge_all(sqlite_database)
    blocks = _blocks(sqlite_database)
    assert [block for block in blocks if block[0] == 1] == [(1, False, 256), (1, True, 1024)]
    assert [block for block in blocks if block[0] == 2] == [(2, False, 1024 // FACTOR_ABOVE)]
    series = _read(sqlite_database, points=20)
    assert series.level > 0
    assert series.total_points == rows
    assert series.maximum.max() == values.max()
    assert series.minimum.min() == values.min()


def test_rows_that_come_late_get_blocks_of_their_own(database: Database) -> None:
    sender = start(database)
    late = sender.batch(np.arange(500, 505), {VECTOR: np.full((5, 3), 99)})
    sender.frames(np.r_[0:500, 505:1030], {VECTOR: np.ones((1025, 3))})
    _merge_all(database)
    sender.send(late)
    sender.frames(np.arange(1030, 2060), {VECTOR: np.ones((1030, 3))})
    _merge_all(database)
    assert [rows for level, sealed, rows in _blocks(database) if level == 0 and sealed] == [5, 1024, 1024]
    series = _read(database)
    np.testing.assert_array_equal(series.steps, np.arange(2060))
    assert np.flatnonzero(series.values[:, 0] == 99).tolist() == [500, 501, 502, 503, 504]


def test_a_change_of_layout_is_not_merged_into_the_other(database: Database) -> None:
    sender = start(database)
    sender.frames(np.arange(1024), {VECTOR: np.ones((1024, 3))})
    sender.layout(make_layout(2, names=("b", "c", "d", "e")))
    sender.frames(np.arange(1024, 2048), {VECTOR: np.full((1024, 4), 2)})
    _merge_all(database)
    series = _read(database)
    assert series.names == ("b", "c", "d", "e", "a")
    assert series.values[0].tolist()[:2] == [1, 1]
    assert np.isnan(series.values[0, 2:4]).all()
    assert series.values[-1].tolist()[:4] == [2, 2, 2, 2]


def test_a_merge_that_lost_the_race_takes_everything_back(database: Database) -> None:
    sender = start(database)
    sender.frames(np.arange(1100), {VECTOR: _values(1100)})
    with database.read() as session:
        plans = [merging.plan(session, group) for group in merging.due(session, 10)]
    _merge_all(database)
    before = _blocks(database)
    for plan in plans:
        assert plan is not None
        with pytest.raises(merging.Raced):
            database.write(lambda session, plan=plan: merging.carry_out(session, plan))
    assert _blocks(database) == before


def test_several_mergers_and_writers_at_once_lose_nothing(database: Database) -> None:
    sender = start(database)
    sender.frames([0], {VECTOR: np.zeros((1, 3)), SCALAR: [0]})
    mergers = [Merger(database, idle_seconds=0.001) for _ in range(2)]
    for merger in mergers:
        merger.start()

    def write(number: int) -> None:
        mine = Sender(database, producer=f"p{number}")
        mine.version = 1
        for turn in range(20):
            steps = np.arange(1 + number, 201, 2) + turn * 200
            mine.frames(steps, {VECTOR: np.repeat(steps[:, None], 3, axis=1), SCALAR: steps})

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for merger in mergers:
        merger.stop()
    _merge_all(database)
    series = _read(database)
    np.testing.assert_array_equal(series.steps, np.arange(4001))
    np.testing.assert_array_equal(series.values[:, 2], np.arange(4001))
    assert any(level == 1 for level, _, _ in _blocks(database))


def test_a_damaged_block_stays_as_it_is_and_stops_nothing_else(
    sqlite_database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    sender = start(sqlite_database)
    sender.frames(np.arange(1024), {VECTOR: _values(1024), SCALAR: np.arange(1024)})

    def damage(session) -> None:
        metric = session.scalar(select(Metric.id).where(Metric.name == VECTOR))
        session.execute(update(Block).where(Block.metric_id == metric).values(body=b"GYRB, once"))

    sqlite_database.write(damage)
    skip: set[merging.Group] = set()
    while merge_some(sqlite_database, skip=skip):
        pass
    assert len(skip) == 1
    assert merge_some(sqlite_database, skip=skip) == 0
    assert "damaged" in caplog.text
    assert caplog.text.count("damaged") == 1
    assert (0, True, 1024) in _blocks(sqlite_database, SCALAR)
    assert _blocks(sqlite_database) == [(0, False, 1024)]


def test_the_merger_works_in_the_background_and_stops_when_told(sqlite_database: Database) -> None:
    merger = Merger(sqlite_database, idle_seconds=0.01)
    merger.start()
    start(sqlite_database).frames(np.arange(1024), {VECTOR: _values(1024)})
    deadline = time.monotonic() + 10
    while (0, True, 1024) not in _blocks(sqlite_database) and time.monotonic() < deadline:
        time.sleep(0.01)
    merger.stop()
    merger.stop()
    assert (0, True, 1024) in _blocks(sqlite_database)
    Merger(sqlite_database).stop()


def test_late_rows_behind_what_one_merge_reads_do_not_stop_merging(sqlite_database: Database) -> None:
    sender = start(sqlite_database)
    steps = [*range(0, 2 * merging.AT_ONCE, 2), 5, *range(2 * merging.AT_ONCE, 2 * merging.AT_ONCE + 36, 2)]
    for step in steps:
        sender.frames([step], {SCALAR: np.float32([[step]])})
    assert merge_some(sqlite_database) > 0
    _merge_all(sqlite_database)
    assert len(_blocks(sqlite_database)) < merging.MANY * 4
    with sqlite_database.read() as session:
        series = metrics.series(session, "r1", SCALAR)
    assert series.steps.tolist() == sorted(steps)
    assert series.values[:, 0].tolist() == sorted(steps)


def test_late_rows_within_the_newest_sealed_block_do_not_make_those_after_them_fresh(database: Database) -> None:
    sender = start(database)

    def sent(steps: np.ndarray) -> None:
        sender.frames(steps, {VECTOR: np.ones((len(steps), 3))})

    sent(np.arange(0, 4096, 2))
    _merge_all(database)
    for first, last, fresh in ((2051, 2151, 4096), (2201, 2241, 6144)):
        sent(np.arange(first, last, 2))
        sent(np.arange(fresh, fresh + 2048, 2))
        _merge_all(database)
    sealed = [rows for level, is_sealed, rows in _blocks(database) if level == 0 and is_sealed]
    assert sorted(sealed) == [20, 50, 1024, 1024, 1024, 1024]
