"""Starting, listing, changing, forking and deleting runs."""

from typing import Any

import pytest

from app.errors import Conflict, Invalid, NotFound
from app.services import run_history, runs
from app.services.run_requests import ForkRequest, PatchRequest, RunRequest, ValidateRequest
from app.services.run_view import Page, RunView
from app.storage.database import Database
from gyrostat.spec.presets import PRESETS
from tests.app.control import at, claim, get, put_into, register, report, start

SPEC = PRESETS["digits-mlp"].document


def fork(database: Database, run: str, **asked: Any) -> RunView:
    request = ForkRequest(**asked)
    return database.write(
        lambda session: runs.fork(
            session, run, from_step=request.from_step, patch=request.patch, name=request.name, now=at(50)
        )
    )


def listed(database: Database, **asked: Any) -> Page[RunView]:
    with database.read() as session:
        return runs.list_runs(session, **asked)


def test_a_run_from_a_spec_has_it_written_out_with_every_default(sqlite_database: Database) -> None:
    run = start(sqlite_database, spec=SPEC, name=" my  run ", tags=["b", "a", "b"], notes="why\nnot", project="thesis")
    assert run.spec is not None
    assert run.spec["optimizer"]["nesterov"] is False
    assert (run.name, run.tags, run.project, run.state) == ("my  run", ["a", "b"], "thesis", "queued")
    assert run.steps == SPEC["steps"]
    assert get(sqlite_database, run.id) == run


def test_names_are_made_of_what_is_trained_and_a_number(sqlite_database: Database) -> None:
    names = [start(sqlite_database).name, start(sqlite_database).name, start(sqlite_database, spec=SPEC).name]
    assert names == ["digits-mlp-1", "digits-mlp-2", "digits-mlp-3"]
    assert start(sqlite_database, preset="text-transformer").name == "text-transformer-1"


def test_a_patch_changes_a_preset(sqlite_database: Database) -> None:
    run = start(sqlite_database, preset="digits-mlp", patch={"steps": 7, "optimizer": {"learning_rate": 0.5}})
    assert run.spec is not None
    assert (run.steps, run.spec["optimizer"]["learning_rate"], run.spec["optimizer"]["kind"]) == (7, 0.5, "sgd")


def test_every_problem_of_a_spec_is_told_at_once_and_nothing_is_stored(sqlite_database: Database) -> None:
    broken = {**SPEC, "steps": 0, "optimizer": {"kind": "sgd", "learning_rate": "fast"}, "modle": 3}
    with pytest.raises(Invalid) as caught:
        start(sqlite_database, spec=broken)
    assert {problem.path for problem in caught.value.problems} == {"steps", "optimizer.learning_rate", "modle"}
    assert all(problem.mend for problem in caught.value.problems)
    assert listed(sqlite_database).items == []


@pytest.mark.parametrize("given", [{}, {"spec": SPEC, "preset": "digits-mlp"}, {"attached": True, "spec": SPEC}])
def test_a_request_names_exactly_one_source(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="exactly one of spec, preset and attached"):
        RunRequest(**given)


def test_an_unknown_preset_is_answered_with_those_there_are() -> None:
    with pytest.raises(Invalid, match="digits-mlp"):
        runs.validate(ValidateRequest(preset="digits-mpl"))


def test_a_deeply_nested_patch_is_refused() -> None:
    patch: dict[str, Any] = {}
    for _ in range(100):
        patch = {"a": patch}
    with pytest.raises(Invalid, match="nested"):
        runs.validate(ValidateRequest(preset="digits-mlp", patch=patch))


def test_an_attached_run_is_running_without_a_spec(sqlite_database: Database) -> None:
    run = start(sqlite_database, preset=None, attached=True)
    assert (run.state, run.spec, run.attempt, run.name) == ("running", None, 1, "attached-1")
    report(sqlite_database, run.id, 1, "finished", step=10)
    assert get(sqlite_database, run.id).state == "finished"


def test_pages_neither_repeat_nor_skip_while_runs_are_added(database: Database) -> None:
    made = [start(database, now=at(number // 3)).id for number in range(25)]
    seen: list[str] = []
    cursor = None
    while True:
        page = listed(database, cursor=cursor, limit=4)
        seen += [run.id for run in page.items]
        if page.next is None:
            break
        cursor = page.next
        start(database, now=at(100))  # newer than everything: it belongs before the first page
    assert sorted(seen) == sorted(made)
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("order", ["created_at", "-created_at", "-updated_at", "name", "-name"])
def test_every_order_pages_through_everything(database: Database, order: str) -> None:
    made = {start(database, now=at(number)).id for number in range(5)}
    seen, cursor = [], None
    while True:
        page = listed(database, cursor=cursor, limit=2, order=order)
        seen += [run.id for run in page.items]
        cursor = page.next
        if cursor is None:
            break
    assert set(seen) == made
    assert len(seen) == 5


@pytest.mark.parametrize("cursor", ["", "x", "W10=", "WyJuYW1lIiwgMSwgMl0=", "é", "bnVsbA=="])
def test_a_made_up_cursor_is_refused(sqlite_database: Database, cursor: str) -> None:
    with pytest.raises(Invalid, match="cursor"):
        listed(sqlite_database, cursor=cursor)


def test_a_cursor_of_another_order_is_refused(sqlite_database: Database) -> None:
    for _ in range(2):
        start(sqlite_database)
    page = listed(sqlite_database, limit=1)
    with pytest.raises(Invalid, match="cursor"):
        listed(sqlite_database, cursor=page.next, order="name")


def test_lists_are_narrowed_by_everything_given(database: Database) -> None:
    wanted = start(database, project="a", tags=["x", "quoted \"'"], name="100% Odd_name")
    start(database, project="a", tags=["x"])
    start(database, project="b", tags=["x", "quoted \"'"], notes="about 100")
    find = {"project": "a", "tag": ["x", "quoted \"'"]}
    assert [run.id for run in listed(database, **find).items] == [wanted.id]
    assert [run.id for run in listed(database, q="100% o").items] == [wanted.id]
    assert listed(database, q="odd%name").items == []
    assert len(listed(database, state=["queued", "running"]).items) == 3
    assert listed(database, state="running").items == []


def test_names_and_labels_can_be_changed_and_nothing_else(sqlite_database: Database) -> None:
    run = start(sqlite_database)
    changed = sqlite_database.write(
        lambda session: runs.patch(session, run.id, PatchRequest(name="better", tags=["z", "y"]), at(9))
    )
    assert (changed.name, changed.tags, changed.notes, changed.updated_at) == ("better", ["y", "z"], "", at(9))
    assert changed.revision == run.revision + 1
    with pytest.raises(ValueError, match="Extra inputs"):
        PatchRequest(state="finished")  # type: ignore[call-arg]


@pytest.mark.parametrize("state", ["starting", "running", "unreachable"])
def test_a_run_that_is_trained_cannot_be_deleted(sqlite_database: Database, state: str) -> None:
    run = start(sqlite_database)
    sqlite_database.write(lambda session: put_into(session, run.id, state) and None)
    with pytest.raises(Conflict, match="stop"):
        sqlite_database.write(lambda session: runs.delete(session, run.id))


def test_a_deleted_run_is_gone_with_its_rows_and_its_forks_live_on(database: Database) -> None:
    parent = start(database)
    worker = register(database)
    claim(database, worker)
    report(database, parent.id, 1, "started")
    report(database, parent.id, 1, "checkpoint", step=100, size_bytes=1)
    report(database, parent.id, 1, "finished", step=600)
    child = fork(database, parent.id, from_step=100)
    with pytest.raises(Conflict, match=f"fork {child.id} .* queued.* step 100"):
        database.write(lambda session: runs.delete(session, parent.id))
    claim(database, worker)
    with pytest.raises(Conflict, match="starting"):
        database.write(lambda session: runs.delete(session, parent.id))
    report(database, child.id, 1, "started", step=100)
    fork(database, parent.id, from_step=None)
    database.write(lambda session: runs.delete(session, parent.id))
    with pytest.raises(NotFound):
        get(database, parent.id)
    assert get(database, child.id).parent is None
    with pytest.raises(NotFound):
        database.write(lambda session: runs.delete(session, parent.id))


@pytest.fixture
def trained(sqlite_database: Database) -> tuple[Database, str]:
    run = start(sqlite_database, name="base", tags=["t"], project="p")
    claim(sqlite_database, register(sqlite_database))
    report(sqlite_database, run.id, 1, "started")
    for step in (100, 200):
        report(sqlite_database, run.id, 1, "checkpoint", step=step, size_bytes=1)
    return sqlite_database, run.id


def test_a_fork_begins_at_a_checkpoint_with_a_changed_spec(trained: tuple[Database, str]) -> None:
    database, run = trained
    child = fork(database, run, from_step=200, patch={"optimizer": {"learning_rate": 0.001}})
    assert child.spec is not None
    assert child.spec["optimizer"]["learning_rate"] == 0.001
    assert (child.parent, child.parent_step, child.state, child.name) == (run, 200, "queued", "base-fork-1")
    assert (child.project, child.tags) == ("p", ["t"])
    assignment = claim(database, register(database))
    assert assignment is not None
    assert assignment.run == child.id
    assert assignment.resume is not None
    assert (assignment.resume.run, assignment.resume.step) == (run, 200)


def test_a_fork_from_scratch_may_change_the_network(trained: tuple[Database, str]) -> None:
    database, run = trained
    child = fork(database, run, patch={"model": {"connection": "residual"}}, name="with skips")
    assert (child.parent, child.parent_step, child.name) == (run, None, "with skips")
    assignment = claim(database, register(database))
    assert assignment is not None
    assert assignment.resume is None


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ({"from_step": 150}, "from_step"),
        ({"from_step": 200, "patch": {"steps": 200}}, "patch.steps"),
        ({"from_step": 200, "patch": {"model": {"width": 64}}}, "patch.model"),
        ({"patch": {"steps": -1}}, "steps"),
        ({"patch": {"steps": None}}, "steps"),
    ],
)
def test_a_fork_that_cannot_be_trained_is_refused(trained: tuple[Database, str], asked: Any, path: str) -> None:
    database, run = trained
    with pytest.raises(Invalid) as caught:
        fork(database, run, **asked)
    assert [problem.path for problem in caught.value.problems] == [path]
    assert len(listed(database).items) == 1


def test_another_activation_fits_the_checkpoint(trained: tuple[Database, str]) -> None:
    database, run = trained
    assert fork(database, run, from_step=200, patch={"model": {"activation": "gelu"}}).parent_step == 200


def attach(database: Database, name: str = "exp 17", **given: Any) -> RunView:
    return start(database, preset=None, attached=True, name=name, **given)


@pytest.mark.parametrize("end", [None, "finished", "failed", "stopped"])
def test_an_attached_run_goes_on_as_its_next_attempt_whatever_became_of_it(database: Database, end: str | None) -> None:
    first = attach(database, resume=True)
    assert (first.state, first.attempt) == ("running", 1)
    other = attach(database, project="another", resume=True)
    if end is not None:
        report(database, first.id, 1, end, step=50, error="out of memory")
        assert get(database, first.id).state == end
    again = attach(database, resume=True, from_step=40)
    assert (again.id, again.state, again.attempt) == (first.id, "running", 2)
    assert (again.failure, again.ended_at) == (None, None)
    by_id = attach(database, resume=first.id, from_step=45, name="is ignored")
    assert (by_id.id, by_id.attempt, by_id.name) == (first.id, 3, "exp 17")
    with database.read() as session:
        found = run_history.history(session, first.id)
        assert [(each.number, each.start_step, each.outcome) for each in found.attempts] == [
            (1, 0, end or "interrupted"), (2, 40, "interrupted"), (3, 45, None)
        ]  # fmt: skip
    report(database, first.id, 1, "finished", step=60)  # the first program, which nobody has ended
    assert get(database, first.id).state == "running"
    assert get(database, other.id).attempt == 1


def test_only_an_attached_run_that_is_there_is_gone_on_with(sqlite_database: Database) -> None:
    trained = start(sqlite_database)
    with pytest.raises(Conflict, match=f"run {trained.id} is trained by a worker"):
        attach(sqlite_database, resume=trained.id)
    with pytest.raises(NotFound, match="there is no run 'nowhere'"):
        attach(sqlite_database, resume="nowhere")
    with pytest.raises(ValueError, match="give a name"):
        RunRequest(attached=True, resume=True)
    with pytest.raises(ValueError, match="set attached"):
        RunRequest(preset="digits-mlp", resume=True, name="x")


def test_an_attached_run_has_nothing_to_fork(sqlite_database: Database) -> None:
    run = start(sqlite_database, preset=None, attached=True)
    with pytest.raises(Conflict, match="no spec"):
        fork(sqlite_database, run.id)
