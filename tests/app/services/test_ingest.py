import dataclasses
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import func, select, text

from app.errors import AppError, Conflict, Invalid, NotFound
from app.services import ingest, metrics
from app.storage.database import Database, Session
from app.storage.frames import MAX_GAPS, accept
from app.storage.tables import Block, DetectorState, Event, Metric, Producer, Run
from gyrostat.wire import messages
from gyrostat.wire.frame import Column
from gyrostat.wire.messages import EventsMessage
from gyrostat.wire.values import ABSENT
from tests.app.alarmed import losses, trained
from tests.app.measured import NOW, SCALAR, VECTOR, Sender, add_attempt, make_layout, make_run, start


def _vector(steps):
    return np.asarray(steps, dtype=np.float32)[:, None] + np.array([0.1, 0.2, 0.3], dtype=np.float32)


def _stored(database: Database) -> dict[str, object]:
    with database.read() as session:
        counts = {
            table.__tablename__: session.scalar(select(func.count()).select_from(table)) for table in (Block, Metric)
        }
        producers = session.execute(select(Producer.name, Producer.last, Producer.missing)).all()
        return {**counts, "producers": sorted(producers, key=str), "revision": session.get_one(Run, "r1").revision}


def test_what_was_sent_is_read_back_with_its_meaning(database: Database) -> None:
    sender = start(database)
    steps = [1, 2, 5]
    values = _vector(steps)
    values[1] = [np.nan, np.inf, ABSENT]
    answer = sender.frames(steps, {VECTOR: values, SCALAR: [0.5, -np.inf, 0.25]})
    assert (answer.status, answer.sequence, answer.frames, answer.points, answer.missing) == ("stored", 2, 3, 12, [])
    with database.read() as session:
        series = metrics.series(session, "r1", VECTOR)
        assert (series.unit, series.axis, series.names, series.level) == ("V", "module", ("a", "b", "c"), 0)
        np.testing.assert_array_equal(series.steps, steps)
        np.testing.assert_array_equal(series.values.view(np.uint32), values.view(np.uint32))
        assert metrics.series(session, "r1", SCALAR).values[:, 0].tolist() == [0.5, -np.inf, 0.25]
        seconds = metrics.series(session, "r1", "progress.seconds")
        np.testing.assert_allclose(seconds.values[:, 0], [0.5, 1.0, 2.5])
        run = session.get_one(Run, "r1")
        assert (run.step, run.revision, run.state) == (5, 2, "running")


def test_a_repeat_is_acknowledged_and_changes_nothing(database: Database) -> None:
    sender = start(database)
    batch = sender.batch([1, 2], {VECTOR: _vector([1, 2])})
    assert sender.send(batch).status == "stored"
    before = _stored(database)
    again = sender.send(batch)
    assert (again.status, again.frames, again.points) == ("duplicate", 0, 0)
    assert _stored(database) == before


def test_a_gap_is_reported_until_the_late_ones_have_come(database: Database) -> None:
    sender = start(database)
    batches = [sender.batch([step], {SCALAR: [step]}) for step in range(1, 7)]  # numbers 2..7
    assert sender.send(batches[0]).missing == []
    assert sender.send(batches[4]).missing == [(3, 5)]
    assert sender.send(batches[2]).missing == [(3, 3)]
    assert sender.send(batches[5]).missing == [(3, 3), (5, 5)]
    assert sender.send(batches[2]).status == "duplicate"
    assert sender.send(batches[1]).missing == []
    assert sender.send(batches[3]).status == "stored"
    with database.read() as session:
        series = metrics.series(session, "r1", SCALAR)
        assert series.steps.tolist() == [1, 2, 3, 4, 5, 6]
        assert session.scalars(select(Producer.missing)).all() == [[]]
        newest = metrics.latest(session, "r1", [SCALAR])[0]
        assert (newest.step, newest.values.tolist()) == (6, [6.0])
        entry = next(entry for entry in metrics.catalogue(session, "r1") if entry.name == SCALAR)
        assert (entry.count, entry.first_step, entry.last_step) == (6, 1, 6)


def test_numbers_are_counted_for_each_attempt_anew(database: Database) -> None:
    first = start(database)
    first.frames([1], {SCALAR: [1.0]})
    add_attempt(database, "r1", 2, start_step=1)
    second = Sender(database, attempt=2)
    assert second.layout(make_layout()).status == "stored"
    assert second.frames([2], {SCALAR: [2.0]}).status == "stored"


def test_too_many_gaps_are_refused_instead_of_remembered(sqlite_database: Database) -> None:
    start(sqlite_database)

    def work(session: Session) -> None:
        for sequence in range(3, 3 + 2 * MAX_GAPS, 2):
            accept(session, "r1", 1, "holes", sequence)
        with pytest.raises(Conflict, match="gaps"):
            accept(session, "r1", 1, "holes", 3 + 2 * MAX_GAPS)

    sqlite_database.write(work)


def _refused(sender: Sender, batch) -> AppError:
    before = _stored(sender.database)
    with pytest.raises(AppError) as caught:
        sender.send(batch)
    assert _stored(sender.database) == before
    return caught.value


def test_what_does_not_fit_is_refused_with_every_problem_and_nothing_is_stored(database: Database) -> None:
    sender = start(database)
    good = sender.batch([1, 2], {SCALAR: [1, 2], VECTOR: np.ones((2, 2)), "test.unknown": [1, 2]})
    error = _refused(sender, good)
    assert isinstance(error, Invalid)
    assert [(problem.path, problem.value) for problem in error.problems] == [
        ("columns[1].values", 2),
        ("columns[2].metric", "test.unknown"),
    ]
    assert all(problem.mend for problem in error.problems)
    sent_right = dataclasses.replace(good, columns=good.columns[:1])
    assert sender.send(sent_right).status == "stored"


def test_frames_before_their_layout_are_refused_with_the_version_to_send(database: Database) -> None:
    sender = start(database)
    sender.version = 7
    error = _refused(sender, sender.batch([1], {SCALAR: [1]}))
    assert isinstance(error, Invalid)
    assert (error.problems[0].path, error.problems[0].value) == ("layout", 7)
    assert "send layout 7" in error.problems[0].mend


def test_an_unknown_run_is_not_found_and_an_attempt_never_handed_out_is_a_conflict(database: Database) -> None:
    sender = start(database)
    batch = sender.batch([1], {SCALAR: [1]})
    with pytest.raises(NotFound, match="no run 'nobody'"):
        database.write(lambda session: ingest.store_frames(session, "nobody", batch, NOW))
    error = _refused(sender, dataclasses.replace(batch, attempt=2))
    assert isinstance(error, Conflict)
    assert "no attempt 2" in error.detail


def test_a_layout_is_stored_once_and_never_changed(database: Database) -> None:
    sender = start(database)
    assert sender.layout(make_layout()).status == "stored"
    with pytest.raises(Conflict, match="next version"):
        sender.layout(make_layout(names=("a", "z")))
    with database.read() as session:
        attempt, layout = metrics.layout(session, "r1")
        assert (attempt, layout.version, layout.axes) == (1, 1, {"module": ["a", "b", "c"]})


def test_a_program_that_starts_over_shows_its_new_values_at_once(database: Database) -> None:
    start(database).frames([1, 2, 3], {SCALAR: [1, 2, 3]})
    again = Sender(database, producer="restarted")
    again.layout(make_layout())
    again.frames([1, 2], {SCALAR: [10, 20]})
    with database.read() as session:
        assert metrics.latest(session, "r1", [SCALAR])[0].values.tolist() == [20.0]
        assert session.get_one(Run, "r1").step == 2
        series = metrics.series(session, "r1", SCALAR)
        assert (series.steps.tolist(), series.values[:, 0].tolist()) == ([1, 2, 3], [10, 20, 3])


def test_late_frames_of_an_older_attempt_are_kept_and_do_not_become_the_newest(database: Database) -> None:
    make_run(database, starts=(0, 2))
    old, new = Sender(database, attempt=1), Sender(database, attempt=2, producer="two")
    for sender in (old, new):
        sender.layout(make_layout())
    new.frames([3], {SCALAR: [30.0]})
    assert old.frames([2, 3, 4], {SCALAR: [2.0, 3.0, 4.0]}).status == "stored"
    with database.read() as session:
        assert metrics.latest(session, "r1", [SCALAR])[0].values.tolist() == [30.0]
        assert session.get_one(Run, "r1").step == 3
        series = metrics.series(session, "r1", SCALAR)
        assert (series.steps.tolist(), series.values[:, 0].tolist()) == ([2, 3], [2.0, 30.0])


@pytest.mark.parametrize("spec", [None, {}])
def test_recalled_frames_add_what_is_missing_in_order_and_are_not_the_newest(database: Database, spec) -> None:
    sender = start(database)
    database.write(lambda session: setattr(session.get_one(Run, "r1"), "spec", spec))
    sender.frames([1, 2, 3, 4, 6], {SCALAR: [1, 2, 3, 4, 6]})
    sender.frames([7], {VECTOR: _vector([7])})
    answer = sender.recalled([2, 4, 5], {VECTOR: _vector([2, 4, 5]), SCALAR: [9, 9, 5]})
    assert (answer.status, answer.frames, answer.missing) == ("stored", 3, [])
    sender.frames([8], {SCALAR: [8]})
    with database.read() as session:
        vector, scalar = (metrics.series(session, "r1", name) for name in (VECTOR, SCALAR))
        np.testing.assert_array_equal(vector.steps, [2, 4, 5, 7])
        np.testing.assert_array_equal(vector.values, _vector([2, 4, 5, 7]))
        assert scalar.steps.tolist() == scalar.values[:, 0].tolist() == [1, 2, 3, 4, 5, 6, 8]
        assert metrics.series(session, "r1", "progress.epoch").steps.tolist() == [*range(1, 9)]
        newest = {found.name: found.step for found in metrics.latest(session, "r1", [VECTOR, SCALAR])}
        assert newest == {VECTOR: 7, SCALAR: 8}
        assert session.get_one(Run, "r1").step == 8
        counts = {entry.name: entry.count for entry in metrics.catalogue(session, "r1")}
        assert (counts[VECTOR], counts[SCALAR], counts["progress.epoch"]) == (4, 7, 8)


def test_events_are_stored_once_and_change_the_state(database: Database) -> None:
    sender = start(database)
    event = messages.Event(kind="finished", at=1.0, step=9, data={"reason": "done"})
    message = EventsMessage(producer="main", sequence=2, attempt=1, events=[event])
    answers = [database.write(lambda session: ingest.store_events(session, "r1", message, NOW)) for _ in range(2)]
    assert [answer.status for answer in answers] == ["stored", "duplicate"]
    with database.read() as session:
        assert session.get_one(Run, "r1").state == "finished"
        assert len(session.scalars(select(Event).where(Event.kind == "state")).all()) == 1
    assert sender.frames([1], {SCALAR: [1.0]}).status in (
        "stored",
        "duplicate",
    )  # what is left in the spool still comes


def test_events_of_an_older_attempt_do_not_change_the_state(database: Database) -> None:
    make_run(database, starts=(0, 0))
    event = messages.Event(kind="failed", at=1.0, step=9, data={"error": "late"})
    message = EventsMessage(producer="old", sequence=1, attempt=1, events=[event])
    assert database.write(lambda session: ingest.store_events(session, "r1", message, NOW)).status == "stored"
    with database.read() as session:
        assert session.get_one(Run, "r1").state == "running"


def test_a_batch_and_the_detectors_memory_commit_together(database: Database) -> None:
    sender = start(database)
    batch = sender.batch([1], {SCALAR: [1.0]})

    def failing(session):
        ingest.store_frames(session, "r1", batch, NOW)
        raise RuntimeError("the process ends here")

    before = _stored(database)
    with pytest.raises(RuntimeError):
        database.write(failing)
    assert _stored(database) == before
    with database.read() as session:
        assert session.scalars(select(DetectorState)).all() == []


def test_eight_writers_at_once_lose_and_double_nothing(database: Database) -> None:
    sender = start(database)
    sender.frames([1], {SCALAR: [1.0]})
    failures = []

    def write(number: int) -> None:
        mine = Sender(database, producer=f"rank{number}")
        mine.version = 1
        try:
            for step in range(10):
                mine.frames([2 + step * 8 + number], {SCALAR: [number]})
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with database.read() as session:
        series = metrics.series(session, "r1", SCALAR)
        np.testing.assert_array_equal(series.steps, np.arange(1, 82))
        np.testing.assert_array_equal(series.values[1:, 0], np.tile(np.arange(8), 10))
        assert session.get_one(Run, "r1").revision == 1 + 1 + 80
        entry = next(entry for entry in metrics.catalogue(session, "r1") if entry.name == SCALAR)
        assert entry.count == 81


def test_two_processes_on_one_postgresql_take_turns(postgresql_url: str) -> None:
    from tests.databases import database_on

    with database_on(postgresql_url) as url:
        databases = [Database(url), Database(url)]
        sender = start(databases[0])
        batches = [sender.batch([step], {SCALAR: [step]}) for step in range(1, 21)]
        answers: list[str] = []

        def send(database: Database) -> None:
            mine = Sender(database)
            for batch in batches:
                answers.append(mine.send(batch).status)

        threads = [threading.Thread(target=send, args=(database,)) for database in databases]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == ["duplicate"] * 20 + ["stored"] * 20
        with databases[1].read() as session:
            assert metrics.series(session, "r1", SCALAR).steps.tolist() == list(range(1, 21))
        for database in databases:
            database.close()


_WRITER = r"""
import os, sys, threading
from app.services.maintenance import Merger
from app.storage.database import Database, Session
from app.storage.frames import MAX_GAPS, accept
from tests.app.measured import SCALAR, VECTOR, Sender
import numpy as np
database = Database(sys.argv[1])
Merger(database, idle_seconds=0.01).start()
def write(number):
    sender = Sender(database, producer=f"p{number}")
    sender.version = 1
    step = number
    while True:
        answer = sender.frames([step], {SCALAR: [step], VECTOR: np.full((1, 3), step)})
        os.write(1, f"{number} {answer.sequence} {step}\n".encode())
        step += 4
for number in range(4):
    threading.Thread(target=write, args=(number,)).start()
"""


def test_after_kill_9_all_that_was_acknowledged_is_there_once(database_url: str) -> None:
    database = Database(database_url)
    start(database)
    database.close()
    acknowledged: dict[int, list[int]] = {number: [] for number in range(4)}
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, database_url],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert process.stdout is not None
    for _ in range(120):
        number, _, step = map(int, process.stdout.readline().split())
        acknowledged[number].append(step)
    os.kill(process.pid, signal.SIGKILL)
    for line in process.stdout.read().splitlines():
        if len(parts := line.split()) == 3:
            acknowledged[int(parts[0])].append(int(parts[2]))
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    database = Database(database_url)
    with database.read() as session:
        if database.is_sqlite:
            assert session.scalar(text("PRAGMA integrity_check")) == "ok"
        scalar, vector = (metrics.series(session, "r1", name) for name in (SCALAR, VECTOR))
        stored = scalar.steps.tolist()
        assert len(set(stored)) == len(stored)
        promised = {step for steps in acknowledged.values() for step in steps}
        assert promised <= set(stored)
        assert len(stored) <= len(promised) + 4  # one of each writer may be committed and not yet told
        np.testing.assert_array_equal(scalar.values[:, 0], stored)
        np.testing.assert_array_equal(vector.steps, stored)
        np.testing.assert_array_equal(vector.values, np.repeat(np.array(stored)[:, None], 3, axis=1))
        entry = next(entry for entry in metrics.catalogue(session, "r1") if entry.name == SCALAR)
        assert entry.count == len(stored)
        for producer in session.scalars(select(Producer).where(Producer.name != "main")):
            assert producer.missing == []
            assert producer.last == sum(step % 4 == int(producer.name[1:]) for step in stored)
    database.close()


def test_column_types_of_the_wire_are_stored_as_they_are(sqlite_database: Database) -> None:
    sender = start(sqlite_database)
    batch = sender.batch([1, 2, 3], {SCALAR: [1, 2, 3]})
    sparse = Column(metric=VECTOR, rows=np.array([1], dtype="<u4"), values=np.array([[7, 8, 9]], dtype="<f4"))
    sender.send(dataclasses.replace(batch, columns=(*batch.columns, sparse)))
    with sqlite_database.read() as session:
        series = metrics.series(session, "r1", VECTOR)
        assert (series.steps.tolist(), series.values.tolist()) == ([2], [[7.0, 8.0, 9.0]])


def test_a_step_told_by_a_heartbeat_stays_while_the_spool_drains(database: Database) -> None:
    sender = trained(database)

    def hear(session: Session) -> None:
        session.get_one(Run, sender.run_id).step = 40

    database.write(hear)
    for sent, shown in ((10, 40), (39, 40), (41, 41)):
        losses(sender, [sent], [1.0])
        with database.read() as session:
            assert session.get_one(Run, sender.run_id).step == shown
