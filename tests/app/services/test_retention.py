import os
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import func, select

from app.services import metrics, retention
from app.services.maintenance import merge_some
from app.storage import discard
from app.storage import runs as run_repository
from app.storage.database import Database, Session
from app.storage.tables import Block, Metric, Run
from tests.app.measured import NOW, SCALAR, VECTOR, start

RNG = np.random.default_rng(5)
NAMES = [f"m{index}" for index in range(64)]


def _fill(database: Database, run_id: str, rows: int) -> np.ndarray:
    """Noise that does not compress, in full blocks."""
    sender = start(database, run_id, names=NAMES)
    values = RNG.normal(size=(rows, len(NAMES))).astype(np.float32)
    for first in range(0, rows, 1024):
        sender.frames(np.arange(first, first + 1024), {VECTOR: values[first : first + 1024]})
    while merge_some(database):
        pass
    return values


def _delete(database: Database, run_id: str) -> None:
    def work(session: Session) -> None:
        session.delete(session.get_one(Run, run_id))

    database.write(work)


def _clear(database: Database, **settings: int) -> list[int]:
    done = []
    while count := retention.clear_some(database, **settings):
        done.append(count)
    return done


def _rows(database: Database) -> tuple[int, int]:
    with database.read() as session:
        return session.scalar(select(func.count(Block.id))) or 0, session.scalar(select(func.count(Metric.id))) or 0


def test_a_deleted_run_is_gone_at_once_and_its_blocks_some_at_a_time(database: Database) -> None:
    kept = _fill(database, "kept", 1024)
    before = _rows(database)
    _fill(database, "gone", 40 * 1024)
    held = _rows(database)
    _delete(database, "gone")
    with database.read() as session:
        assert run_repository.get(session, "gone") is None
        assert session.scalar(select(func.count(Metric.id)).where(Metric.run_id == "gone")) == 0
    assert _rows(database) == held
    assert merge_some(database) == 0, "what is left of a deleted run is not merged"
    taken = _clear(database)
    assert _rows(database) == before
    assert max(taken[:-1]) <= 64
    assert len(taken) >= 2
    with database.read() as session:
        read = metrics.series(session, "kept", VECTOR)
    np.testing.assert_array_equal(read.values, kept)


def test_the_file_shrinks_by_what_was_deleted(sqlite_database: Database, tmp_path: Path) -> None:
    kept = _fill(sqlite_database, "kept", 1024)
    _fill(sqlite_database, "gone", 24 * 1024)
    sqlite_database.close()
    full = os.path.getsize(tmp_path / "only.sqlite")
    assert full > 5_000_000
    database = Database(f"sqlite:///{tmp_path / 'only.sqlite'}")
    _delete(database, "gone")
    assert _clear(database, spare_pages=16)
    with database.read() as session:
        np.testing.assert_array_equal(metrics.series(session, "kept", VECTOR).values, kept)
    database.close()
    assert os.path.getsize(tmp_path / "only.sqlite") < full / 4


def test_pages_that_are_free_for_the_next_rows_are_kept(sqlite_database: Database) -> None:
    _fill(sqlite_database, "gone", 2048)
    _delete(sqlite_database, "gone")
    with sqlite_database.read() as session:
        blocks, named = session.scalar(select(func.count(Block.id))), session.scalar(select(func.count(Metric.id)))
    assert sum(_clear(sqlite_database)) == (blocks or 0) + (named or 0)


@pytest.mark.parametrize(
    ("state", "days", "tags", "goes"),
    [
        ("finished", 8, [], True),
        ("stopped", 8, ["other"], True),
        ("finished", 8, ["keep"], False),
        ("finished", 6, [], False),
        ("running", 8, [], False),
    ],
)
def test_runs_that_ended_long_ago_are_deleted_where_that_is_wanted(
    database: Database, state: str, days: int, tags: list[str], goes: bool
) -> None:
    start(database, "old").frames([1], {SCALAR: np.float32([[1]])})

    def end(session: Session) -> None:
        run = session.get_one(Run, "old")
        run.state, run.tags, run.ended_at = state, tags, NOW

    database.write(end)
    assert retention.expire(database, 7, NOW + timedelta(days=days)) == (["old"] if goes else [])
    with database.read() as session:
        assert (run_repository.get(session, "old") is None) == goes


def test_a_call_gives_back_as_many_pages_as_it_says(sqlite_database: Database) -> None:
    _fill(sqlite_database, "gone", 24 * 1024)
    _delete(sqlite_database, "gone")
    while sqlite_database.write(discard.some):
        pass
    with sqlite_database.read() as session:
        before = discard.spare_pages(session, kept=0)
    sqlite_database.write(lambda session: discard.give_back(session, 200))
    with sqlite_database.read() as session:
        assert discard.spare_pages(session, kept=0) == before - 200
