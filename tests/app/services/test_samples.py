"""Samples of a run, on both databases: kept once a step, bounded in number, refused where they are no picture."""

import base64

import numpy as np
import pytest

from app.errors import Invalid, NotFound
from app.services import samples
from app.storage import events as event_repository
from app.storage.database import Database
from gyrostat.wire import png
from tests.app.control import report
from tests.app.measured import make_run

PICTURE = png.encode(np.full((4, 6), 7, np.uint8))


def _send(database: Database, step: int, data: bytes = PICTURE, attempt: int = 1, **more: object) -> None:
    content = {"png": base64.b64encode(data).decode(), "caption": "digits", **more}
    report(database, "r1", attempt, "samples", step=step, **content)


def _steps(database: Database) -> list[int]:
    with database.read() as session:
        return [each.step for each in samples.listed(session, "r1").items]


def test_a_picture_is_kept_apart_from_the_event_that_tells_of_it(database: Database) -> None:
    make_run(database)
    _send(database, 50)
    with database.read() as session:
        (item,) = samples.listed(session, "r1").items
        assert (item.step, item.width, item.height, item.caption) == (50, 6, 4, "digits")
        assert samples.picture(session, "r1", 50) == PICTURE
        (event,) = event_repository.after(session, 0, run_id="r1")
        assert event.kind == "samples"
        assert "png" not in event.data


def test_a_later_attempt_replaces_a_step_and_an_earlier_one_that_comes_late_does_not(database: Database) -> None:
    make_run(database, starts=(0, 0))
    other = png.encode(np.zeros((2, 2), np.uint8))
    _send(database, 50)
    _send(database, 50, other, attempt=2)
    _send(database, 50, attempt=1)
    with database.read() as session:
        assert samples.picture(session, "r1", 50) == other


def test_of_many_the_first_and_the_newest_stay_and_the_rest_is_spread_between(database: Database) -> None:
    make_run(database)
    for step in range(10, 1010, 10):
        _send(database, step)
    steps = _steps(database)
    assert len(steps) == samples.MAX_KEPT
    assert (steps[0], steps[-1]) == (1000, 10)
    gaps = -np.diff(steps)
    assert gaps.max() <= 4 * np.median(gaps)


@pytest.mark.parametrize("text", [None, 7, "%%%", "é", base64.b64encode(b"<script>alert(1)</script>").decode()])
def test_what_is_no_picture_is_refused_with_what_to_send(database: Database, text: object) -> None:
    make_run(database)
    with pytest.raises(Invalid) as refused:
        _send(database, 1, png=text)
    (problem,) = refused.value.problems
    assert problem.path == "events.data.png"
    assert _steps(database) == []


def test_no_run_and_no_step_are_told_apart(database: Database) -> None:
    make_run(database)
    _send(database, 50)
    with database.read() as session:
        with pytest.raises(NotFound, match="steps: 50"):
            samples.picture(session, "r1", 51)
        with pytest.raises(NotFound, match="no run"):
            samples.listed(session, "gone")
