"""Measurements on demand, on both databases: asked for, waited for, reported, given up, bounded in number."""

from typing import Any

import pytest

from app.errors import Conflict, Invalid, NotFound
from app.services import controls, measurements, workers
from app.services.measurements import MeasurementView
from app.storage import events as event_repository
from app.storage.database import Database, Session
from app.storage.tables import Measurement as Row
from gyrostat.spec.measurements import Landscape, Measurement, SpectralDensity
from gyrostat.wire.measurements import Order
from gyrostat.wire.messages import Command, Heartbeat, RunningReport
from tests.app.control import SETTINGS, at, claim, register, report, start
from tests.app.measured import make_run

LINE = Landscape(points=3)
SPECTRUM = SpectralDensity()
VALUES = {"positions": [-1.0, 0.0, 1.0], "losses": [3.0, 0.5, "Infinity"]}


def training(database: Database) -> tuple[str, str]:
    run, worker = start(database), register(database)
    claim(database, worker)
    report(database, run.id, 1, "started")
    return run.id, worker


def ask(database: Database, run: str, settings: Measurement = LINE, seconds: float = 3) -> MeasurementView:
    return database.write(lambda session: controls.measure(session, run, settings, at(seconds)))


def tell(database: Database, run: str, id: str, *, step: int = 40, attempt: int = 1, **changes: Any) -> None:
    data = {"id": id, "settings": LINE.model_dump(), "seconds": 0.25, "samples": 64, "values": VALUES, **changes}
    data = {key: value for key, value in data.items() if value is not None}
    report(database, run, attempt, "measurement", step=step, now=at(9), **data)


def shown(database: Database, run: str, id: str) -> measurements.MeasurementDocument:
    with database.read() as session:
        return measurements.get(session, run, id)


def commands(database: Database, run: str, worker: str) -> list[Command]:
    message = Heartbeat(running=[RunningReport(run=run, attempt=1, step=5)])

    def answered(session: Session) -> list[Command]:
        return workers.heartbeat(session, worker, message, SETTINGS, at(4)).commands

    return database.write(answered)


def test_what_is_asked_for_reaches_the_worker_and_its_report_is_kept_apart_from_the_event(database: Database) -> None:
    run, worker = training(database)
    asked = ask(database, run)
    assert (asked.state, asked.step, asked.settings) == ("waiting", None, LINE.model_dump())
    (command,) = commands(database, run, worker)
    assert command.kind == "measure"
    assert Order.model_validate(command.data) == Order(id=asked.id, settings=LINE)
    tell(database, run, asked.id)
    found = shown(database, run, asked.id)
    assert (found.state, found.step, found.seconds, found.samples, found.error) == ("done", 40, 0.25, 64, None)
    assert found.values == VALUES
    assert (found.asked_at, found.ended_at) == (at(3), at(9))
    with database.read() as session:
        told = [e.data for e in event_repository.after(session, 0, run_id=run) if e.kind == "measurement"]
        assert [each["state"] for each in told] == ["waiting", "done"]
        assert all("values" not in each for each in told)
        assert [each.id for each in measurements.listed(session, run).items] == [asked.id]


def test_a_measurement_that_failed_says_why(database: Database) -> None:
    run, _ = training(database)
    asked = ask(database, run)
    tell(database, run, asked.id, values=None, samples=None, error="OutOfMemoryError: no room")
    found = shown(database, run, asked.id)
    assert (found.state, found.error, found.values) == ("failed", "OutOfMemoryError: no room", None)


def test_a_training_that_ends_first_takes_its_measurements_with_it_unless_a_report_still_comes(
    database: Database,
) -> None:
    run, worker = training(database)
    asked = ask(database, run)
    report(database, run, 1, "finished", step=50)
    found = shown(database, run, asked.id)
    assert found.state == "failed"
    assert "became finished before it was measured" in (found.error or "")
    assert commands(database, run, worker) == []
    tell(database, run, asked.id)
    assert (shown(database, run, asked.id).state, shown(database, run, asked.id).error) == ("done", None)


def test_only_a_run_that_a_worker_trains_and_goes_on_training_is_measured(database: Database) -> None:
    with pytest.raises(NotFound):
        ask(database, "gone")
    with pytest.raises(Conflict, match="is queued"):
        ask(database, start(database).id)
    with pytest.raises(Conflict, match="attached"):
        ask(database, start(database, preset=None, attached=True).id)


def test_a_run_that_is_being_stopped_is_not_measured_and_neither_is_one_with_too_many_wishes(
    database: Database,
) -> None:
    run, _ = training(database)
    first = ask(database, run)
    for _ in range(controls.MAX_WAITING - 1):
        ask(database, run, SPECTRUM)
    with pytest.raises(Conflict, match="measurements to make"):
        ask(database, run)
    tell(database, run, first.id)
    ask(database, run)
    database.write(lambda session: controls.stop(session, run, at(5)))
    with pytest.raises(Conflict, match="on its way to be stopped"):
        ask(database, run)


def test_of_many_the_oldest_are_forgotten_but_never_one_that_is_waited_for(database: Database) -> None:
    run, _ = training(database)
    waited_for = ask(database, run, seconds=-100)
    for number in range(measurements.MAX_KEPT + 5):
        tell(database, run, f"own-{number:03d}")
    with database.read() as session:
        kept = [each.id for each in measurements.listed(session, run).items]
    assert len(kept) == measurements.MAX_KEPT
    assert kept[-1] == waited_for.id
    assert set(kept) >= {f"own-{number:03d}" for number in range(6, measurements.MAX_KEPT + 5)}


def test_an_id_is_of_one_run_alone(database: Database) -> None:
    run, _ = training(database)
    asked = ask(database, run)
    make_run(database, "r1")
    tell(database, "r1", asked.id)
    assert shown(database, run, asked.id).state == "waiting"
    assert shown(database, "r1", asked.id).state == "done"


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"id": "../x"}, "id"),
        ({"seconds": -1.0}, "seconds"),
        ({"seconds": "NaN"}, "seconds"),
        ({"settings": {"kind": "weather"}}, "settings.kind"),
        ({"settings": {"kind": "landscape", "points": 4}}, "settings"),
        ({"settings": {"kind": "landscape", "points": 5}}, ""),
        ({"settings": SPECTRUM.model_dump()}, ""),
        ({"values": {**VALUES, "losses": [1.0, "nan", 1.0]}}, "values"),
        ({"values": {**VALUES, "losses": [[1.0], [1.0], [1.0]]}}, ""),
        ({"values": {**VALUES, "positions": [0.0, 1.0]}}, ""),
        ({"values": {**VALUES, "more": 1}}, "values"),
        ({"settings": {"kind": "cka"}, "values": {"names": ["a"], "alignment": [[1.0, 0.5]]}}, ""),
        ({"settings": {"kind": "cka"}, "values": {"names": ["\x07"], "alignment": [[1.0]]}}, "values"),
        ({"settings": {"kind": "ntk", "samples": 4}, "values": {"kernel_eigenvalues": [1.0] * 5}}, ""),
        ({"settings": {"kind": "ntk"}, "values": {"kernel_eigenvalues": [-1.0]}}, "values"),
        ({"error": "both"}, ""),
        ({"values": None}, ""),
    ],
)
def test_what_is_no_report_is_refused_with_what_is_wrong(
    sqlite_database: Database, changes: dict[str, Any], path: str
) -> None:
    make_run(sqlite_database)
    with pytest.raises(Invalid) as refused:
        tell(sqlite_database, "r1", **{"id": "m1", **changes})
    assert refused.value.problems[0].path.startswith(f"events.data.{path}")
    with sqlite_database.read() as session:
        assert measurements.listed(session, "r1").items == []


def test_a_deleted_run_leaves_no_measurement(database: Database) -> None:
    run, _ = training(database)
    tell(database, run, "m1")
    report(database, run, 1, "finished")
    from app.services import runs

    database.write(lambda session: runs.delete(session, run))
    with database.read() as session:
        assert session.query(Row).count() == 0
        with pytest.raises(NotFound):
            measurements.listed(session, run)
