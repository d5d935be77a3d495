"""A run that is thinned: what is left is exact about what was there, says that it is a summary, and takes less room."""

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from sqlalchemy import func, select

from app.errors import Conflict
from app.series import Series
from app.services import metrics, retention, rules
from app.services.maintenance import merge_some
from app.services.retention import Retention
from app.storage.database import Database, Session
from app.storage.tables import Block, Run
from gyrostat.wire.values import ABSENT, is_absent
from tests.app.measured import NOW, SCALAR, VECTOR, Sender, add_attempt, make_layout, start

NAMES = [f"m{index}" for index in range(64)]
FULL = 1024
"""Rows of a full block of so many names."""
FORKED_AT = 3000
STEPS = 5600
LATER = NOW + timedelta(days=8)


class Thinned(NamedTuple):
    """A run before anything was taken: its database, and all that it shows."""

    database: Database
    steps: np.ndarray
    values: np.ndarray


def values_of(first: int, last: int) -> np.ndarray:
    """Noise with everything in it that is no number."""
    random = np.random.default_rng(first)
    values = random.normal(size=(last - first, len(NAMES))).astype(np.float32)
    odd = random.integers(0, last - first, (4, 40))
    for rows, value in zip(odd, (np.nan, np.inf, -np.inf, ABSENT), strict=True):
        values[rows, random.integers(0, len(NAMES), 40)] = value
    values[100:140, 3] = ABSENT
    return values


def end(database: Database, run_id: str = "r1", **changes: object) -> None:
    def work(session: Session) -> None:
        run = session.get_one(Run, run_id)
        run.state, run.ended_at = "finished", NOW
        for name, value in changes.items():
            setattr(run, name, value)

    database.write(work)


def merged(database: Database) -> None:
    while merge_some(database):
        pass


def thin(database: Database, run_id: str = "r1") -> int:
    taken = 0
    while count := retention.thin_some(database, run_id, LATER):
        taken += count
    return taken


@pytest.fixture
def run(database: Database) -> Thinned:
    """Two attempts, the second of which begins within a full block of the first; some rows are in no full block."""
    first, second = values_of(0, 4 * FULL), values_of(FORKED_AT + 1, STEPS)
    sender = start(database, names=NAMES)
    for at in range(0, len(first), FULL):
        sender.frames(np.arange(at, at + FULL), {VECTOR: first[at : at + FULL]})
    add_attempt(database, "r1", 2, FORKED_AT)
    again = Sender(database, "r1", attempt=2)
    again.layout(make_layout(names=NAMES))
    for at in range(0, len(second), FULL):
        part = second[at : at + FULL]
        again.frames(FORKED_AT + 1 + at + np.arange(len(part)), {VECTOR: part})
    merged(database)
    end(database)
    return Thinned(database, np.arange(STEPS), np.concatenate([first[: FORKED_AT + 1], second]))


def read(database: Database, **asked: object) -> Series:
    with database.read() as session:
        return metrics.series(session, "r1", VECTOR, **asked)  # type: ignore[arg-type]


def check(found: Series, run: Thinned, first: int = 0, last: int = STEPS - 1) -> None:
    """Each row of `found` against the rows that it says it stands for, the steps from `first` to `last` in turn."""
    assert found.rows is not None
    ends = np.cumsum(found.rows) + first
    np.testing.assert_array_equal(found.steps, run.steps[ends - 1])
    assert ends[-1] == last + 1
    for place, part in enumerate(np.split(run.values[first : last + 1], ends[:-1] - first)):
        finite = np.isfinite(part)
        np.testing.assert_array_equal(found.values[place].view(np.uint32), part[-1].view(np.uint32))
        np.testing.assert_array_equal(found.nonfinite[place], (~finite & ~is_absent(part)).sum(axis=0))
        for plane, of in ((found.minimum, np.nanmin), (found.maximum, np.nanmax)):
            some = finite.any(axis=0)
            np.testing.assert_array_equal(plane[place][some], of(np.where(finite, part, np.nan)[:, some], axis=0))
            assert not np.isfinite(plane[place][~some]).any()
            np.testing.assert_array_equal(is_absent(plane[place]), is_absent(part).all(axis=0))
        mean = np.where(finite, part, 0).sum(axis=0, dtype=np.float64) / np.maximum(finite.sum(axis=0), 1)
        np.testing.assert_allclose(found.mean[place][some], mean[some], rtol=1e-5, atol=1e-6)


def raw_blocks(database: Database) -> list[tuple[int, int, int]]:
    with database.read() as session:
        query = select(Block.attempt, Block.first_step, Block.last_step).where(Block.level == 0, Block.sealed)
        return [tuple(row) for row in session.execute(query.order_by(Block.attempt, Block.first_step))]


def test_what_is_left_sums_up_exactly_what_was_shown_and_says_so(run: Thinned) -> None:
    before = read(run.database)
    assert (before.level, before.rows, len(before.steps)) == (0, None, STEPS)
    widest = read(run.database, points=40)
    assert thin(run.database) > 0
    after = read(run.database)
    assert after.level == 1
    assert after.total_points == STEPS
    check(after, run)
    assert after.rows[: FORKED_AT // 16].tolist() == [16] * (FORKED_AT // 16)
    assert after.rows[-1] == 1, "rows in no full block are as they were measured"
    check(read(run.database, points=200), run)
    np.testing.assert_array_equal(read(run.database, points=40).steps, widest.steps)
    with run.database.read() as session:
        assert session.get_one(Run, "r1").thinned_at == LATER


def test_only_blocks_in_which_a_later_attempt_begins_stay(run: Thinned) -> None:
    assert len(raw_blocks(run.database)) > 6
    thin(run.database)
    left = {(attempt, first, last) for attempt, first, last in raw_blocks(run.database)}
    assert left
    assert all(attempt == 1 and first <= FORKED_AT < last for attempt, first, last in left)
    assert thin(run.database) == 0


def test_readers_see_one_and_the_same_while_blocks_are_taken(run: Thinned, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention.discard.full_raw, "__defaults__", (1,))
    assert retention.thin_some(run.database, "r1", LATER) == 1
    halfway = read(run.database)
    check(halfway, run)
    assert thin(run.database) > 1
    after = read(run.database)
    np.testing.assert_array_equal(after.steps, halfway.steps)
    np.testing.assert_array_equal(after.maximum, halfway.maximum)


@pytest.mark.parametrize("cut", [800, 803, FORKED_AT, FORKED_AT + 5, STEPS - 3])
def test_a_row_lies_where_its_last_step_does_so_neighbouring_ranges_share_none(run: Thinned, cut: int) -> None:
    thin(run.database)
    low, high = read(run.database, to_step=cut), read(run.database, from_step=cut + 1)
    assert (low.steps <= cut).all()
    assert (high.steps > cut).all()
    whole = read(run.database)
    rows = [np.ones(len(part.steps)) if part.rows is None else part.rows for part in (low, high)]
    assert np.concatenate(rows).sum() == STEPS
    np.testing.assert_array_equal(np.concatenate([low.steps, high.steps]), whole.steps)


def test_whatever_changes_an_answer_changes_the_tag_that_it_is_kept_by(
    run: Thinned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention.discard.full_raw, "__defaults__", (1,))
    answers: dict[int, list[int]] = {}
    while retention.thin_some(run.database, "r1", LATER):
        with run.database.read() as session:
            steps = [metrics.series(session, "r1", VECTOR, to_step=cut).steps[-1] for cut in range(500, STEPS, 500)]
            assert answers.setdefault(metrics.revision(session, "r1"), steps) == steps
    assert len({tuple(steps) for steps in answers.values()}) > 2


def test_an_export_in_pieces_is_the_series(run: Thinned) -> None:
    thin(run.database)
    whole = read(run.database)
    with run.database.read() as session:
        chunks = list(metrics.finest_chunks(session, "r1", VECTOR, values_at_once=5000))
    assert len(chunks) > 1
    np.testing.assert_array_equal(np.concatenate([chunk.steps for chunk in chunks]), whole.steps)
    np.testing.assert_array_equal(np.concatenate([chunk.rows for chunk in chunks]), whole.rows)
    np.testing.assert_array_equal(np.concatenate([chunk.minimum for chunk in chunks]), whole.minimum)


def test_what_comes_late_is_shown_and_is_given_up_when_it_has_been_summed_up(run: Thinned) -> None:
    thin(run.database)
    sender = Sender(run.database, "r1", attempt=2, producer="late")
    sender.version = 1
    late = values_of(STEPS, STEPS + 2 * FULL)
    for at in (0, FULL):
        sender.frames(STEPS + at + np.arange(FULL), {VECTOR: late[at : at + FULL]})
    grown = Thinned(run.database, np.arange(STEPS + 2 * FULL), np.concatenate([run.values, late]))
    check(read(run.database), grown, last=STEPS + 2 * FULL - 1)
    merged(run.database)
    check(read(run.database), grown, last=STEPS + 2 * FULL - 1)
    assert thin(run.database) > 0
    check(read(run.database), grown, last=STEPS + 2 * FULL - 1)


def test_what_comes_late_from_amid_what_was_given_up_is_not_summed_up_with_what_is_new(database: Database) -> None:
    sender = start(database)
    late = sender.batch(np.arange(500, 505), {SCALAR: np.full(5, 99)})
    sender.frames(np.r_[0:500, 505:1029], {SCALAR: np.ones(FULL)})
    merged(database)
    end(database)
    assert thin(database) > 0
    sender.send(late)
    sender.frames(np.arange(1029, 2060), {SCALAR: np.ones(1031)})
    merged(database)
    with database.read() as session:
        found = metrics.series(session, "r1", SCALAR)
    assert found.maximum[found.steps == 504].tolist() == [[99]]
    assert found.maximum[found.steps > 504].max() == 1


def test_a_short_run_stays_as_it_was_measured(database: Database) -> None:
    values = values_of(0, 300)
    start(database, names=NAMES).frames(np.arange(300), {VECTOR: values})
    merged(database)
    end(database)
    assert thin(database) == 0
    found = read(database)
    assert found.rows is None
    np.testing.assert_array_equal(found.values.view(np.uint32), values.view(np.uint32))
    with database.read() as session:
        assert session.get_one(Run, "r1").thinned_at is None


@pytest.mark.parametrize(
    ("days", "changes", "goes"),
    [
        (8, {}, True),
        (8, {"state": "lost", "tags": ["other"]}, True),
        (6, {}, False),
        (8, {"tags": ["keep"]}, False),
        (8, {"state": "paused"}, False),
    ],
)
def test_runs_that_ended_long_ago_are_thinned_unless_they_are_tagged(
    sqlite_database: Database, days: int, changes: dict[str, object], goes: bool
) -> None:
    start(sqlite_database)
    end(sqlite_database, **changes)
    assert retention.old_runs(sqlite_database, 7, NOW + timedelta(days=days)) == (["r1"] if goes else [])


def test_a_run_that_is_tagged_after_it_was_looked_for_stays(run: Thinned) -> None:
    end(run.database, tags=["keep"])
    assert thin(run.database) == 0
    assert read(run.database).rows is None


def test_the_service_does_it_by_itself_and_the_file_shrinks(sqlite_database: Database, tmp_path: Path) -> None:
    sender = start(sqlite_database, names=NAMES)
    random = np.random.default_rng(0)
    for at in range(0, 48 * FULL, FULL):
        sender.frames(np.arange(at, at + FULL), {VECTOR: random.normal(size=(FULL, len(NAMES)))})
    merged(sqlite_database)
    end(sqlite_database)
    with sqlite_database.read() as session:
        held = session.scalar(select(func.sum(func.length(Block.body))))
    keeper = Retention(sqlite_database, None, 7.0, lambda: LATER)
    keeper.start()
    deadline = time.monotonic() + 30
    while raw_blocks(sqlite_database) and time.monotonic() < deadline:
        time.sleep(0.05)
    keeper.stop()
    assert raw_blocks(sqlite_database) == []
    while retention.clear_some(sqlite_database, spare_pages=16):
        pass
    with sqlite_database.read() as session:
        left = session.scalar(select(func.sum(func.length(Block.body))))
    sqlite_database.close()
    assert left < 0.45 * held
    assert os.path.getsize(tmp_path / "only.sqlite") < 1.2 * left


def test_a_rule_cannot_be_tried_on_summaries(run: Thinned) -> None:
    thin(run.database)
    with run.database.read() as session, pytest.raises(Conflict, match="only summaries are kept since 2026-03-12"):
        rules.backtest(session, rules.BacktestRequest(run="r1", rule="divergence"))


@pytest.fixture
def scalars(sqlite_database: Database) -> Database:
    sender = start(sqlite_database)
    sender.frames(np.arange(3 * FULL), {SCALAR: np.arange(3 * FULL)})
    merged(sqlite_database)
    end(sqlite_database)
    thin(sqlite_database)
    return sqlite_database


def test_one_aggregate_takes_the_place_of_the_last_row(scalars: Database) -> None:
    with scalars.read() as session:
        found = metrics.series(session, "r1", SCALAR, aggregate=("mean",))
    np.testing.assert_allclose(found.values[:3, 0], [7.5, 23.5, 39.5])


def test_the_size_of_an_answer_is_told_by_what_is_kept(scalars: Database) -> None:
    with scalars.read() as session:
        assert len(metrics.series(session, "r1", SCALAR, max_values=200).steps) == 3 * FULL // 16
