import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError, OperationalError

from app.errors import StorageFull, Unavailable
from app.storage.database import Database, Session
from app.storage.tables import Metric, Rule, Run, Transition
from tests.databases import NoServer, PostgresServer, database_on

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def _rule(kind: str) -> Rule:
    return Rule(kind=kind, override={"enabled": False}, updated_at=NOW)


def _run(id: str) -> Run:
    return Run(id=id, name="n", project="p", tags=[], state="queued", created_at=NOW, updated_at=NOW)


def _kinds(database: Database) -> set[str]:
    with database.read() as session:
        return set(session.scalars(select(Rule.kind)))


def test_what_was_written_is_read_back_with_its_types(database: Database) -> None:
    def work(session: Session) -> str:
        session.add(_run("r1"))
        session.add(_rule("loss_spike"))
        return "done"

    assert database.write(work) == "done"
    with database.read() as session:
        rule = session.get_one(Rule, "loss_spike")
        assert rule.override == {"enabled": False}
        assert rule.updated_at == NOW
        assert rule.updated_at.tzinfo is not None
        assert session.scalars(select(Run.id).where(Run.spec.is_(None), Run.failure.is_(None))).all() == ["r1"]


def test_a_naive_time_is_refused(database: Database) -> None:
    def work(session: Session) -> None:
        session.add(Rule(kind="x", override={}, updated_at=NOW.replace(tzinfo=None)))

    with pytest.raises(Exception, match="naive"):
        database.write(work)
    assert _kinds(database) == set()


def test_a_write_that_raises_takes_back_its_own_changes_and_no_others(database: Database) -> None:
    barrier = threading.Barrier(8)
    raised: list[Exception] = []

    def one(number: int) -> None:
        def work(session: Session) -> None:
            session.add(_rule(f"kind{number}"))
            session.flush()
            if number % 2:
                raise LookupError(f"no {number}")

        barrier.wait()
        try:
            database.write(work)
        except LookupError as error:
            raised.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _kinds(database) == {"kind0", "kind2", "kind4", "kind6"}
    assert sorted(str(error) for error in raised) == ["no 1", "no 3", "no 5", "no 7"]


def test_a_broken_constraint_comes_out_of_the_write_that_broke_it(database: Database) -> None:
    database.write(lambda session: session.add(_rule("once")))
    with pytest.raises(IntegrityError):
        database.write(lambda session: session.add(_rule("once")))
    with pytest.raises(IntegrityError):  # foreign keys are enforced on both
        database.write(
            lambda session: session.add(
                Metric(run_id="nobody", name="a.b", unit="1", axis="run", description="", count=0)
            )
        )
    database.write(lambda session: session.add(_rule("after")))
    assert _kinds(database) == {"once", "after"}


def test_deleting_a_run_deletes_its_rows(database: Database) -> None:
    def fill(session: Session) -> None:
        session.add(_run("r1"))
        session.flush()
        session.add(Transition(run_id="r1", old=None, new="queued", reason="", at=NOW))

    database.write(fill)
    database.write(lambda session: session.execute(text("DELETE FROM run WHERE id = 'r1'")) and None)
    with database.read() as session:
        assert session.scalars(select(Transition)).all() == []


def test_a_reader_sees_one_snapshot_and_cannot_write(database: Database) -> None:
    with database.read() as session:
        assert session.scalars(select(Rule.kind)).all() == []
        database.write(lambda other: other.add(_rule("new")))
        assert session.scalars(select(Rule.kind)).all() == []
    assert _kinds(database) == {"new"}
    with pytest.raises(Exception, match=r"readonly|read-only"), database.read() as session:
        session.execute(text("DELETE FROM rule"))
    assert _kinds(database) == {"new"}


def test_a_revision_is_told_at_once_as_it_was_committed_last(database: Database) -> None:
    def rise(session: Session) -> int | None:
        session.get_one(Run, "r1").revision += 1
        session.flush()
        return database.revision_at_once("r1")

    database.write(lambda session: session.add(_run("r1")))
    first, second = (0, 1) if database.is_sqlite else (None, None)
    assert database.revision_at_once("r1") == first
    assert database.write(rise) == first
    assert database.revision_at_once("r1") == second
    assert database.revision_at_once("nobody") is None


def test_what_cannot_be_told_at_once_is_left_to_the_usual_way(tmp_path: Path) -> None:
    file = tmp_path / "gyrostat.sqlite"
    database = Database(f"sqlite:///{file}")
    assert database.revision_at_once("r1") is None, "no tables yet"
    database.migrate()
    database.write(lambda session: session.add(_run("r1")))
    assert database.revision_at_once("r1") == 0
    database.close()
    assert [each.name for each in tmp_path.iterdir()] == [file.name], "nobody holds it open"


def test_writers_that_wait_share_one_commit(sqlite_database: Database) -> None:
    commits = []
    writer = sqlite_database._writer
    assert writer is not None
    commit = writer._commit_together

    def counted(works: list[Any]) -> None:
        commits.append(len(works))
        commit(works)

    writer._commit_together = counted  # type: ignore[method-assign]
    started, go = threading.Event(), threading.Event()

    def slow(session: Session) -> None:
        started.set()
        assert go.wait(10)

    first = threading.Thread(target=sqlite_database.write, args=(slow,))
    first.start()
    assert started.wait(10)
    others = [
        threading.Thread(target=sqlite_database.write, args=(lambda session, n=n: session.add(_rule(f"k{n}")),))
        for n in range(20)
    ]
    for thread in others:
        thread.start()
    while writer._waiting.qsize() < 20:
        time.sleep(0.001)
    go.set()
    for thread in [first, *others]:
        thread.join()
    assert commits == [1, 20]
    assert len(_kinds(sqlite_database)) == 20


def test_nested_writes_are_refused_instead_of_waiting_for_themselves(sqlite_database: Database) -> None:
    with pytest.raises(RuntimeError, match="inside another write"):
        sqlite_database.write(lambda _: sqlite_database.write(lambda _: None))


def test_sqlite_runs_in_wal_mode_and_syncs_every_commit(sqlite_database: Database) -> None:
    with sqlite_database.read() as session:
        assert session.scalar(text("PRAGMA journal_mode")) == "wal"
        assert session.scalar(text("PRAGMA query_only")) == 1
    pragmas = sqlite_database.write(
        lambda session: [session.scalar(text(f"PRAGMA {name}")) for name in ("synchronous", "foreign_keys")]
    )
    assert pragmas == [2, 1]


def test_a_full_disk_stores_nothing_and_says_so_and_heals(sqlite_database: Database) -> None:
    pages = sqlite_database.write(lambda session: session.scalar(text("PRAGMA page_count")))
    sqlite_database.write(lambda session: session.execute(text(f"PRAGMA max_page_count = {pages + 2}")) and None)

    def much(session: Session) -> None:
        session.add(_rule("small"))
        session.flush()
        session.add(Rule(kind="big", override={"x": "y" * 200_000}, updated_at=NOW))

    with pytest.raises(StorageFull) as caught:
        sqlite_database.write(much)
    assert caught.value.retry_after
    assert _kinds(sqlite_database) == set()
    sqlite_database.write(lambda session: session.execute(text("PRAGMA max_page_count = 1000000")) and None)
    sqlite_database.write(much)
    assert _kinds(sqlite_database) == {"small", "big"}


def test_a_second_backend_on_one_file_is_refused_until_the_first_has_gone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.sqlite'}"
    first = Database(url, serving=True)
    with pytest.raises(RuntimeError, match=r"already served by another backend \(process \d+\)"):
        Database(url, serving=True)
    Database(url).close()  # a look from a command is no second backend
    first.close()
    Database(url, serving=True).close()


def test_after_close_a_write_is_unavailable(sqlite_database: Database) -> None:
    sqlite_database.close()
    with pytest.raises(Unavailable):
        sqlite_database.write(lambda session: None)


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "mysql://x/y", "not a url", "postgresql+asyncpg://x/y"]
)
def test_an_unusable_url_is_refused_with_what_to_use(url: str) -> None:
    with pytest.raises(ValueError, match="sqlite"):
        Database(url)


def test_the_migrations_make_exactly_the_tables_of_the_code(database: Database) -> None:
    assert database.current() == database.head()
    assert database.differences() == []
    database.migrate()
    assert database.current() == database.head()


def test_migrations_go_down_and_up_again(database: Database) -> None:
    database.downgrade("base")
    assert database.current() is None
    database.migrate()
    assert database.differences() == []


@pytest.mark.postgresql
def test_backends_that_start_together_migrate_once(postgresql_url: str) -> None:
    with database_on(postgresql_url, template=None) as url:
        databases = [Database(url) for _ in range(4)]
        threads = [threading.Thread(target=database.migrate) for database in databases]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [database.current() for database in databases] == [databases[0].head()] * 4
        for database in databases:
            database.close()


@pytest.mark.postgresql
def test_a_deadlock_is_repeated_until_both_writers_are_through(postgresql_url: str) -> None:
    with database_on(postgresql_url) as url:
        database = Database(url)
        database.write(lambda session: session.add_all([_rule("a"), _rule("b")]))
        both = threading.Barrier(2)
        tries = [0, 0]

        def work(number: int, first: str, second: str) -> None:
            def body(session: Session) -> None:
                tries[number] += 1
                session.execute(text("UPDATE rule SET updated_at = now() WHERE kind = :k"), {"k": first})
                if tries[number] == 1:
                    both.wait(10)
                session.execute(text("UPDATE rule SET updated_at = now() WHERE kind = :k"), {"k": second})

            database.write(body)

        threads = [threading.Thread(target=work, args=args) for args in ((0, "a", "b"), (1, "b", "a"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(tries) == [1, 2]
        database.close()


@pytest.mark.postgresql
def test_a_server_that_dies_is_unavailable_and_usable_again_after_its_restart() -> None:
    try:
        server = PostgresServer(durable=True)
    except NoServer as error:
        pytest.skip(str(error))
    try:
        server.start()
        database = Database(server.url)
        database.migrate()
        database.write(lambda session: session.add(_rule("before")))
        server.kill()
        with pytest.raises(Unavailable) as caught:
            database.write(lambda session: session.add(_rule("during")))
        assert caught.value.retry_after
        with pytest.raises(Unavailable):
            _kinds(database)
        server.start()
        database.write(lambda session: session.add(_rule("after")))
        assert _kinds(database) == {"before", "after"}
        with database.read() as session:
            assert session.scalar(text("SHOW synchronous_commit")) == "on"
        database.close()
    finally:
        server.remove()


def test_other_database_errors_are_not_disguised(database: Database) -> None:
    with pytest.raises(Exception, match="no_such_table") as caught:
        database.write(lambda session: session.execute(text("SELECT * FROM no_such_table")) and None)
    assert not isinstance(caught.value, Unavailable)
    assert isinstance(caught.value, OperationalError) or "UndefinedTable" in str(caught.value)
