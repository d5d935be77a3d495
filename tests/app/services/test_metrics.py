import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from app.errors import Invalid, NotFound
from app.series import Series
from app.services import metrics, runs
from app.services.asked import AGGREGATES
from app.services.maintenance import merge_some
from app.storage import discard, reading
from app.storage.database import Database, Session
from app.storage.remembered import Charts, Remembered
from app.storage.tables import Block, Run
from gyrostat.wire.values import ABSENT, is_absent
from tests.app.measured import SCALAR, VECTOR, Sender, add_attempt, make_layout, make_run, start


def _read(database: Database, metric: str = SCALAR, **asked: object) -> Series:
    with database.read() as session:
        return metrics.series(session, "r1", metric, **asked)


def _merge_all(database: Database) -> None:
    while merge_some(database):
        pass


def test_without_points_every_row_comes(database: Database) -> None:
    sender = start(database)
    sender.frames(np.arange(5000), {SCALAR: np.arange(5000)})
    _merge_all(database)
    series = _read(database)
    assert not series.bucketed
    assert (series.level, series.total_points, len(series.steps)) == (0, 5000, 5000)


def test_with_more_points_than_rows_the_rows_come_raw(database: Database) -> None:
    sender = start(database)
    sender.frames(np.arange(50_000), {SCALAR: np.arange(50_000)})
    _merge_all(database)
    series = _read(database, points=500, from_step=20_100, to_step=20_599)
    assert not series.bucketed
    np.testing.assert_array_equal(series.steps, np.arange(20_100, 20_600))
    assert _read(database, points=499, from_step=20_100, to_step=20_599).bucketed


def test_a_spike_and_a_nan_survive_every_reduction(database: Database) -> None:
    sender, rows = start(database), 30_000
    values = np.sin(np.arange(rows) / 1000).astype(np.float32)
    values[11_234], values[25_678], values[29_999] = 1e9, np.nan, -np.inf
    for first in range(0, rows, 10_000):
        sender.frames(np.arange(first, first + 10_000), {SCALAR: values[first : first + 10_000]})
        _merge_all(database)
    for points in (1, 10, 100, 1000, 10_000):
        series = _read(database, points=points)
        assert len(series.steps) <= points
        assert len(series.steps) > points // 3
        assert series.rows.sum() == series.total_points == rows
        assert series.maximum[:, 0].max() == np.float32(1e9)
        assert series.nonfinite.sum() == 2
        assert series.steps[-1] == rows - 1
        bucket = np.searchsorted(series.steps, 11_234)
        assert series.maximum[bucket, 0] == np.float32(1e9)
    assert _read(database, points=100).level > 0


EDGES = st.tuples(st.integers(0, 9000), st.integers(0, 9000)).map(sorted)


@pytest.fixture
def three_attempts(sqlite_database: Database):
    """Rows 0..8999 in three attempts that overlap, merged, with what should be shown."""
    rng = np.random.default_rng(5)
    make_run(sqlite_database)
    shown = np.zeros(9000, dtype=np.float32)
    for attempt, (begin, end) in enumerate([(0, 6000), (3500, 7000), (5555, 9000)], 1):
        if attempt > 1:
            add_attempt(sqlite_database, "r1", attempt, start_step=begin - 1)
        sender = Sender(sqlite_database, attempt=attempt)
        sender.layout(make_layout())
        values = rng.normal(size=end - begin).astype(np.float32)
        values[rng.integers(0, end - begin, 20)] = np.nan
        for first in range(0, end - begin, 700):
            part = values[first : first + 700]
            sender.frames(np.arange(begin + first, begin + first + len(part)), {SCALAR: part})
            _merge_all(sqlite_database)
        shown[begin:end] = values
    return sqlite_database, shown


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edges=EDGES, points=st.integers(1, 100))
def test_any_range_at_any_width_agrees_with_numpy_over_what_is_shown(three_attempts, edges, points) -> None:
    database, shown = three_attempts
    low, high = edges
    series = _read(database, points=points, from_step=low, to_step=high)
    wanted = shown[low : high + 1]
    steps = np.arange(9000)[low : high + 1]
    assert series.total_points == len(wanted)
    if not series.bucketed:
        np.testing.assert_array_equal(series.steps, steps)
        np.testing.assert_array_equal(series.values[:, 0], wanted)
        return
    assert len(series.steps) <= points
    assert series.rows.sum() == len(wanted)
    edges_of = np.searchsorted(steps, series.steps, side="right")
    assert edges_of[-1] == len(wanted)
    for bucket, part in enumerate(np.split(wanted, edges_of[:-1])):
        finite = part[np.isfinite(part)]
        assert series.rows[bucket] == len(part)
        assert series.nonfinite[bucket, 0] == len(part) - len(finite)
        np.testing.assert_array_equal(series.values[bucket, 0], part[-1])
        found = [series.minimum[bucket, 0], series.maximum[bucket, 0], series.mean[bucket, 0]]
        expected = [finite.min(), finite.max(), finite.mean(dtype=np.float64)] if len(finite) else [np.nan] * 3
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_all_rows_of_overlapping_attempts_are_those_of_the_newest(three_attempts) -> None:
    database, shown = three_attempts
    series = _read(database)
    np.testing.assert_array_equal(series.steps, np.arange(9000))
    np.testing.assert_array_equal(series.values[:, 0], shown)
    with database.read() as session:
        chunks = list(metrics.finest_chunks(session, "r1", SCALAR, values_at_once=1000))
    assert len(chunks) > 3
    np.testing.assert_array_equal(np.concatenate([chunk.steps for chunk in chunks]), np.arange(9000))
    np.testing.assert_array_equal(np.concatenate([chunk.values[:, 0] for chunk in chunks]), shown)


def test_a_new_attempt_hides_what_the_old_one_measured_after_its_start_at_once(database: Database) -> None:
    start(database).frames(np.arange(10), {SCALAR: np.full(10, 1)})
    add_attempt(database, "r1", 2, start_step=4)
    assert _read(database).steps.tolist() == [0, 1, 2, 3, 4]


def test_columns_follow_the_newest_layout_by_name_and_vanished_ones_come_last(database: Database) -> None:
    sender = start(database, names=("old", "kept"))
    sender.frames([1], {VECTOR: [[1, 2]]})
    sender.layout(make_layout(2, names=("new", "kept")))
    sender.frames([2], {VECTOR: [[3, 4]]})
    series = _read(database, VECTOR)
    assert series.names == ("new", "kept", "old")
    assert is_absent(series.values).tolist() == [[True, False, False], [False, False, True]]
    np.testing.assert_array_equal(series.values[:, 1], [2, 4])
    series = _read(database, VECTOR, points=1)
    assert series.maximum.tolist() == [[3, 4, 1]]
    with database.read() as session:
        newest = metrics.latest(session, "r1", [VECTOR])[0]
    assert ([*newest.names], newest.values.tolist()) == (["new", "kept"], [3, 4])


def test_names_are_chosen_by_glob(database: Database) -> None:
    sender = start(database, names=("block.0.fc", "block.1.fc", "head"))
    sender.frames([1, 2], {VECTOR: [[1, 2, 3], [4, 5, 6]]})
    series = _read(database, VECTOR, names="block.*")
    assert series.names == ("block.0.fc", "block.1.fc")
    assert series.values.tolist() == [[1, 2], [4, 5]]
    assert _read(database, VECTOR, names="*.fc", points=1).maximum.tolist() == [[4, 5]]
    with pytest.raises(Invalid, match=r"'bolck\.\*'") as caught:
        _read(database, VECTOR, names="bolck.*")
    assert "block.0.fc" in caught.value.problems[0].mend


def test_a_single_aggregate_becomes_the_values(database: Database) -> None:
    sender = start(database)
    sender.frames(np.arange(1, 9), {SCALAR: [1, 2, 3, 6, ABSENT, ABSENT, np.nan, ABSENT]})
    asked = {name: _read(database, points=2, aggregate=[name]).values[:, 0] for name in AGGREGATES}
    assert asked["min"][0] == 1
    assert asked["mean"][0] == 3
    assert asked["max"][0] == 6
    assert asked["last"][0] == 6
    assert all(np.isnan(values[1]) for values in asked.values())
    assert is_absent(asked["last"]).tolist() == [False, True]
    assert is_absent(asked["mean"]).tolist() == [False, False]


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ({"points": 0}, "points"),
        ({"points": 10**9}, "points"),
        ({"from_step": 5, "to_step": 4}, "from"),
        ({"aggregate": ["median"]}, "aggregate"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(sqlite_database: Database, asked: dict[str, object], path: str) -> None:
    start(sqlite_database).frames([1], {SCALAR: [1]})
    with pytest.raises(Invalid) as caught:
        _read(sqlite_database, **asked)
    assert [problem.path for problem in caught.value.problems] == [path]


def test_an_unknown_metric_is_not_found_and_the_likely_one_is_named(sqlite_database: Database) -> None:
    start(sqlite_database).frames([1], {SCALAR: [1]})
    with pytest.raises(NotFound, match=r"did you mean test\.scalar"):
        _read(sqlite_database, "test.scaler")
    with sqlite_database.read() as session, pytest.raises(NotFound, match="no run"):
        metrics.catalogue(session, "nobody")


def test_a_run_without_frames_has_nothing_and_a_range_without_rows_is_empty(database: Database) -> None:
    sender = start(database)
    with database.read() as session:
        assert metrics.catalogue(session, "r1") == []
        assert metrics.latest(session, "r1") == []
    sender.frames([1], {VECTOR: [[1, 2, 3]]})
    empty = _read(database, VECTOR, from_step=100)
    assert (empty.total_points, empty.steps.tolist(), empty.values.shape) == (0, [], (0, 3))
    assert _read(database, VECTOR, from_step=100, points=10).names == ("a", "b", "c")


def test_runs_are_compared_and_one_without_the_metric_is_left_out(database: Database) -> None:
    start(database).frames([1, 2], {SCALAR: [1, 2]})
    make_run(database, "r2")
    other = Sender(database, "r2")
    other.layout(make_layout())
    other.frames([5], {VECTOR: [[1, 2, 3]]})
    with database.read() as session:
        answers = metrics.query(session, ["r1", "r2"], [SCALAR, "progress.epoch"], 10)
        assert [(run, series.metric) for run, series in answers] == [
            ("r1", SCALAR),
            ("r1", "progress.epoch"),
            ("r2", "progress.epoch"),
        ]
        with pytest.raises(NotFound, match="none of the runs"):
            metrics.query(session, ["r1"], ["no.such"], None)
        with pytest.raises(NotFound, match="no run"):
            metrics.query(session, ["r1", "r3"], [SCALAR], None)


def test_a_deleted_run_takes_its_measurements_along(database: Database) -> None:
    start(database).frames([1], {SCALAR: [1]})
    database.write(lambda session: session.delete(session.get_one(Run, "r1")))
    with database.read() as session, pytest.raises(NotFound):
        metrics.series(session, "r1", SCALAR)


def test_more_values_than_fit_into_an_answer_are_refused_before_they_are_read(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(sqlite_database).frames(np.arange(100), {VECTOR: np.ones((100, 3)), SCALAR: np.arange(100)})
    assert len(_read(sqlite_database, VECTOR, max_values=300).steps) == 100
    assert len(_read(sqlite_database, VECTOR, max_values=299, points=50).steps) == 50
    with monkeypatch.context() as patched:
        patched.setattr(metrics.reading, "parts", None)
        with pytest.raises(Invalid, match="too large") as refused:
            _read(sqlite_database, VECTOR, max_values=299)
    assert all(way in refused.value.problems[0].mend for way in ("points=", "`from`", "/v1/runs/r1/export"))
    monkeypatch.setattr(metrics, "MAX_VALUES", 399)
    with sqlite_database.read() as session:
        with pytest.raises(Invalid, match="too large"):
            metrics.query(session, ["r1"], [VECTOR, SCALAR], None)
        assert len(metrics.query(session, ["r1"], [VECTOR, SCALAR], 50)) == 2


def test_what_readers_remember_of_a_run_is_not_taken_for_another_one(database: Database) -> None:
    """The newer run's blocks would get the ids of the deleted one's, if ids were given out twice."""
    for value in (1.0, 2.0):
        sender = start(database)
        sender.frames(np.arange(5000), {SCALAR: np.full(5000, value)})
        _merge_all(database)
        for _ in range(2):
            assert (_read(database).values == value).all()
            with database.read() as session:
                del session.info[reading.CHARTS]  # those go by the run's id, which is never given out again
                assert (metrics.series(session, "r1", SCALAR, points=50).maximum == value).all()
        database.write(_delete)
        while database.write(discard.some):
            pass


def _delete(session: Session) -> None:
    session.get_one(Run, "r1").state = "finished"
    session.flush()
    runs.delete(session, "r1")


LONG = 20_000
"""Rows of which a chart of 100 points reads a coarser level."""
ASKED = [*({"aggregate": [name]} for name in AGGREGATES), {}, {"names": "b"}, {"names": "[ac]"}, {"names": "b"}]


@pytest.mark.parametrize("room", [None, 60_000, 10], ids=["all-fits", "little-room", "nothing-fits"])
def test_answers_are_the_same_whatever_is_remembered(database: Database, room: int | None) -> None:
    sender, values = start(database), np.random.default_rng(4).normal(size=(LONG, 3)).astype(np.float32)
    values[:, 1] = -0.0
    values[7, 2], values[9, 2] = np.inf, ABSENT
    sender.frames(np.arange(LONG), {VECTOR: values})
    _merge_all(database)
    remembered = Remembered() if room is None else Remembered(coarse_bytes=room, raw_bytes=room)
    charts = Charts() if room is None else Charts(max_bytes=room)
    for asked in (*ASKED, *ASKED, *ASKED):
        with database.read() as session:
            session.info |= {reading.BLOCKS: remembered, reading.CHARTS: charts}
            found = metrics.series(session, "r1", VECTOR, points=100, **asked)
            del session.info[reading.BLOCKS], session.info[reading.CHARTS]
            expected = metrics.series(session, "r1", VECTOR, points=100, **asked)
        assert found.level > 0
        for plane in ("values", "minimum", "mean", "maximum", "nonfinite"):
            one, other = getattr(found, plane), getattr(expected, plane)
            assert (one is None) == (other is None)
            if plane == "mean" and one is not None:  # of a column alone it is summed in another order
                np.testing.assert_allclose(one, other, rtol=2e-7)
                one, other = one[np.isnan(one)], other[np.isnan(other)]
            assert one is None or one.tobytes() == other.tobytes()
        assert (found.names, found.steps.tolist()) == (expected.names, expected.steps.tolist())


def test_a_chart_that_is_at_hand_is_read_no_more_until_the_run_changes(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender, read = start(database), []
    places = reading.places
    monkeypatch.setattr(reading, "places", lambda *asked: read.append(None) or places(*asked))
    sender.frames(np.arange(LONG), {VECTOR: np.ones((LONG, 3))})
    for names in ("a", "b", "c", None, "[ab]"):
        assert (_read(database, VECTOR, names=names, points=100).maximum == 1).all()
    assert len(read) == 2
    with pytest.raises(Invalid, match="no name of"):
        _read(database, VECTOR, names="nobody", points=100)
    sender.frames(np.arange(LONG, LONG + 1), {VECTOR: np.full((1, 3), 2.0)})
    assert _read(database, VECTOR, names="b", points=100).maximum[-1] == 2
    assert len(read) == 3


def test_a_column_of_too_many_is_read_alone_each_time(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MAX_CHART_VALUES", 299)
    start(database).frames(np.arange(LONG), {VECTOR: np.ones((LONG, 3))})
    for _ in range(3):
        assert _read(database, VECTOR, names="b", points=100).names == ("b",)


def test_a_look_at_one_column_unpacks_that_one_and_one_at_another_all(database: Database) -> None:
    sender, values = start(database), np.random.default_rng(3).normal(size=(LONG, 3)).astype(np.float32)
    sender.frames(np.arange(LONG), {VECTOR: values})
    _merge_all(database)
    whole = []
    for points, name in ((100, "b"), (101, "b"), (102, "c")):
        assert _read(database, VECTOR, names=name, points=points).level > 0
        with database.read() as session:
            known: Remembered = session.info[reading.BLOCKS]
            blocks = session.scalars(select(Block.id).where(Block.level > 0)).all()
            whole.append(sum(known.look_up(block_id, None, ["maximum"]) is not None for block_id in blocks))
    assert whole[:2] == [0, 0]
    assert whole[2] > 0


def test_zeros_of_both_signs_are_kept_apart_by_what_is_remembered(database: Database) -> None:
    sender, zeros = start(database), np.where(np.arange(3000) % 3, np.float32(-0.0), np.float32(0.0))
    sender.frames(np.arange(3000), {SCALAR: zeros})
    _merge_all(database)
    for _ in range(2):
        assert _read(database).values[:, 0].tobytes() == zeros.tobytes()
