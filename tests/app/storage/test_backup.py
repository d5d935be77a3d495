"""Copies of a database that is being served, and what is restored from them."""

import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from app.storage.backup import backup
from app.storage.database import Database
from tests.app.alarmed import diverge, trained
from tests.app.control import served
from tests.app.storage.contents import contents
from tests.databases import database_on, postgresql_program

LAYOUT = {"version": 1, "axes": {}, "metrics": [{"name": "loss.train", "unit": "1", "axis": "run"}]}


def attach(client: httpx.Client) -> str:
    run = str(client.post("/v1/runs", json={"attached": True, "name": "kept"}).json()["id"])
    message = {"producer": "p", "sequence": 1, "attempt": 1, "layout": LAYOUT}
    assert client.post(f"/v1/runs/{run}/layout", json=message).is_success
    return run


def send(client: httpx.Client, run: str, step: int) -> bool:
    column = {"metric": "loss.train", "values": [step / 7]}
    body = {"producer": "p", "sequence": step + 1, "attempt": 1, "layout": 1, "steps": [step], "times": [1.7e9 + step]}
    return client.post(f"/v1/runs/{run}/frames", json={**body, "columns": [column]}).is_success


def check_losses(client: httpx.Client, run: str, at_least: int) -> None:
    series = client.get(f"/v1/runs/{run}/metrics/loss.train").json()
    last = len(series["steps"])
    assert last >= at_least
    assert series["steps"] == list(range(1, last + 1))
    assert [row[0] for row in series["values"]] == pytest.approx([step / 7 for step in range(1, last + 1)])


def sending(url: str, run: str, acknowledged: list[int], stop: threading.Event) -> None:
    with httpx.Client(base_url=url, timeout=60) as client:
        step = 0
        while not stop.is_set():
            step += 1
            assert send(client, run, step)
            acknowledged.append(step)


def while_it_is_sent_to(url: str, run: str, act: Callable[[], None]) -> int:
    """Does it in the midst of many writes; how many of them were acknowledged before."""
    acknowledged: list[int] = []
    stop = threading.Event()
    sender = threading.Thread(target=sending, args=(url, run, acknowledged, stop))
    sender.start()
    try:
        while len(acknowledged) < 30:
            stop.wait(0.01)
        before = len(acknowledged)
        act()
        assert sender.is_alive()
    finally:
        stop.set()
        sender.join(60)
    return before


def test_a_copy_made_while_it_is_served_is_served_itself(tmp_path: Path) -> None:
    copy = tmp_path / "copies" / "copy.sqlite"
    copy.parent.mkdir()

    def copy_it() -> None:
        command = [sys.executable, "-m", "app", "backup", str(copy), "--data", str(tmp_path / "data")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert f"{copy} has {copy.stat().st_size} bytes" in done.stdout

    with served(tmp_path / "data") as (_, url), httpx.Client(base_url=url) as client:
        run = attach(client)
        before = while_it_is_sent_to(url, run, copy_it)
    assert [path.name for path in copy.parent.iterdir()] == ["copy.sqlite"], "one file, and nothing beside it"
    (tmp_path / "restored").mkdir()
    shutil.copy(copy, tmp_path / "restored" / "gyrostat.sqlite")
    with served(tmp_path / "restored") as (_, url), httpx.Client(base_url=url) as client:
        check_losses(client, run, before)


def test_a_copy_of_what_rests_is_equal(tmp_path: Path, sqlite_database: Database) -> None:
    diverge(trained(sqlite_database))
    backup(tmp_path / "only.sqlite", tmp_path / "copy.sqlite")
    copy = Database(f"sqlite:///{tmp_path / 'copy.sqlite'}")
    try:
        original = contents(sqlite_database)
        assert sum(bool(rows) for rows in original.values()) >= 10
        assert contents(copy) == original
        assert copy.current() == copy.head()
    finally:
        copy.close()


def test_nothing_is_overwritten_and_nothing_half_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no database"):
        backup(tmp_path / "none.sqlite", tmp_path / "copy.sqlite")
    (tmp_path / "garbage.sqlite").write_bytes(b"no database at all" * 1000)
    with pytest.raises(sqlite3.DatabaseError):
        backup(tmp_path / "garbage.sqlite", tmp_path / "copy.sqlite")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["garbage.sqlite"]
    sqlite3.connect(tmp_path / "small.sqlite").close()
    (tmp_path / "copy.sqlite").write_text("mine")
    with pytest.raises(FileExistsError, match="there already"):
        backup(tmp_path / "small.sqlite", tmp_path / "copy.sqlite")
    assert (tmp_path / "copy.sqlite").read_text() == "mine"
    with pytest.raises(FileNotFoundError, match="no folder"):
        backup(tmp_path / "small.sqlite", tmp_path / "backups" / "copy.sqlite")


@pytest.mark.postgresql
def test_a_dump_made_while_it_is_served_is_served_itself(tmp_path: Path, postgresql_url: str) -> None:
    """As docs/operations.md says it is done."""
    pg_dump, pg_restore = postgresql_program("pg_dump"), postgresql_program("pg_restore")
    dump = tmp_path / "gyrostat.dump"

    def plain(url: str) -> str:
        return url.replace("postgresql+psycopg", "postgresql")

    def dump_it() -> None:
        subprocess.run([pg_dump, "--format=custom", f"--file={dump}", plain(source)], check=True, timeout=120)

    with database_on(postgresql_url) as source, database_on(postgresql_url, template=None) as target:
        with served(tmp_path / "data", database_url=source) as (_, url), httpx.Client(base_url=url) as client:
            run = attach(client)
            before = while_it_is_sent_to(url, run, dump_it)
        restore = [pg_restore, "--no-owner", "--exit-on-error", f"--dbname={plain(target)}", dump]
        subprocess.run(restore, check=True, timeout=120)
        with served(tmp_path / "restored", database_url=target) as (_, url), httpx.Client(base_url=url) as client:
            check_losses(client, run, before)
