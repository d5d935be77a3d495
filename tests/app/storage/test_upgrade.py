"""Databases of earlier releases, as files of `releases/`, are brought up to date and lose nothing.

A release's files are dumps of a small service that did a little of everything, made by that release's own code:
`sqlite3 gyrostat.sqlite .dump`, and `pg_dump --inserts --no-owner --no-privileges` without its comments.
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from app.storage.database import Database
from tests.app.control import served
from tests.app.storage.contents import contents, narrowed
from tests.databases import database_on

RELEASES = Path(__file__).parent / "releases"
REVISIONS = sorted({path.name.partition(".")[0] for path in RELEASES.glob("*.sql")})
ENCODED = ("block", "detector_state")
"""Tables whose rows a release may write anew; what they mean is compared instead."""
FIRST = 'first, ünïcode "quoted"'


@pytest.fixture(params=REVISIONS)
def revision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def url(request: pytest.FixtureRequest, revision: str, tmp_path: Path) -> Iterator[str]:
    """A database as that release left it."""
    dump = (RELEASES / f"{revision}.{request.param}.sql").read_text()
    if request.param == "sqlite":
        connection = sqlite3.connect(tmp_path / "old.sqlite")
        connection.executescript(dump)
        connection.close()
        yield f"sqlite:///{tmp_path / 'old.sqlite'}"
        return
    with database_on(request.getfixturevalue("postgresql_url"), template=None) as fresh:
        with psycopg.connect(fresh.replace("postgresql+psycopg", "postgresql"), autocommit=True) as connection:
            connection.execute(dump.encode())
        yield fresh


def test_an_upgrade_keeps_every_value_and_ends_at_this_version(url: str, revision: str) -> None:
    database = Database(url)
    try:
        assert database.current() == revision
        skipped = (*ENCODED, "alembic_version")
        before = contents(database, without=skipped)
        assert sum(bool(rows) for rows in before.values()) >= 15, "the release's service did a little of everything"
        database.migrate()
        assert database.current() == database.head()
        assert database.differences() == []
        assert narrowed(contents(database, without=skipped), before) == before
        database.migrate()
        assert narrowed(contents(database, without=skipped), before) == before
    finally:
        database.close()


def test_a_backend_upgrades_at_its_start_and_serves_what_was_stored(url: str, tmp_path: Path) -> None:
    with served(tmp_path / "data", database_url=url) as (_, address), httpx.Client(base_url=address) as client:

        def get(path: str, **query: Any) -> Any:
            answer = client.get(path, params=query)
            assert answer.status_code == 200, answer.text
            return answer.json()

        runs = {run["name"]: run for run in get("/v1/runs")["items"]}
        assert set(runs) == {FIRST, "attached"}
        run = runs[FIRST]
        assert (run["project"], run["tags"], run["notes"]) == ("old", ["kept", "räder"], "two\nlines")
        assert run["step"] == 24
        check_series(get, run["id"])
        (alert,) = get("/v1/alerts", run=run["id"], state="acknowledged")["items"]
        assert alert["kind"] == "non_finite"
        (checkpoint,) = get(f"/v1/runs/{run['id']}/checkpoints")["items"]
        assert (checkpoint["step"], checkpoint["best"], checkpoint["size_bytes"]) == (20, True, 1234)
        (sample,) = get(f"/v1/runs/{runs['attached']['id']}/samples")["items"]
        assert (sample["width"], sample["height"], sample["caption"]) == (6, 4, "a ring")
        (rule,) = [rule for rule in get("/v1/rules")["items"] if rule["kind"] == "loss_spike"]
        assert rule["severity"] == "info"
        assert client.get(f"/runs/{run['id']}").status_code == 200

        message = {"producer": "trainer", "attempt": 1, "layout": 1, "steps": [25], "times": [1.77e9 + 25]}
        column = {"metric": "loss.train", "values": [1.0]}

        repeat = client.post(f"/v1/runs/{run['id']}/frames", json={**message, "sequence": 4, "columns": [column]})
        assert repeat.json()["status"] == "duplicate"
        more = client.post(f"/v1/runs/{run['id']}/frames", json={**message, "sequence": 7, "columns": [column]})
        assert more.json()["status"] == "stored"
        assert get(f"/v1/runs/{run['id']}/metrics/loss.train")["steps"][-1] == 25


def check_series(get: Any, run: str) -> None:
    """That both metrics are what the release's service was sent."""
    loss = get(f"/v1/runs/{run}/metrics/loss.train")
    assert loss["steps"] == list(range(1, 25))
    assert loss["values"] == [[2.0]] * 20 + [["NaN"]] * 4
    norm = get(f"/v1/runs/{run}/metrics/gradient.norm")
    assert norm["names"] == ["0.weight", "0.bias", "2.weight"]
    assert norm["steps"] == list(range(2, 25, 2))
    assert norm["values"] == [[s / 2, None if s % 4 == 0 else "Infinity", -float(s)] for s in range(2, 25, 2)]
