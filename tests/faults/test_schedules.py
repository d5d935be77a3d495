"""Nothing lost, nothing doubled, nothing changed: a few schedules of faults; `make soak` plays a thousand.

Together they hold every fault, every fate of a request and every kind of producer that `schedule` draws.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.databases import NoServer, PostgresServer
from tests.faults import soak
from tests.faults.play import play
from tests.faults.schedule import DATABASES, FATES, FAULTS, POSTGRESQL_FAULTS, Database, drawn

SEEDS: dict[Database, tuple[int, ...]] = {"sqlite": (911, 946), "postgresql": (1094, 336, 1618)}

pytestmark = pytest.mark.timeout(1200)  # of real time, for a machine that has much else to do


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """A server that may be killed."""
    try:
        with soak.postgres() as server:
            yield server
    except NoServer as error:
        pytest.skip(f"no PostgreSQL of one's own here: {error}")


@pytest.mark.parametrize("seed", SEEDS["sqlite"])
def test_nothing_is_lost_on_sqlite(seed: int, tmp_path: Path) -> None:
    check(seed, "sqlite", tmp_path, None)


@pytest.mark.postgresql
@pytest.mark.parametrize("seed", SEEDS["postgresql"])
def test_nothing_is_lost_on_postgresql(seed: int, tmp_path: Path, postgres: PostgresServer) -> None:
    check(seed, "postgresql", tmp_path, postgres)


def check(seed: int, database: Database, folder: Path, postgres: PostgresServer | None) -> None:
    outcome = play(drawn(seed, database), folder, postgres)
    assert outcome.account.wrong == [], f"python -m tests.faults --seed {seed} --database {database}"
    assert outcome.account.balanced
    assert outcome.account.stored > 0
    assert outcome.account.spooled == 0


def test_these_seeds_hold_everything_that_is_drawn() -> None:
    schedules = [drawn(seed, database) for database in DATABASES for seed in SEEDS[database]]
    assert {kind for each in schedules for kind in each.kinds} == {*FAULTS, *POSTGRESQL_FAULTS, "spool_disk_full"}
    assert {fate for each in schedules for fate in each.weather} == set(FATES)
    producers = [made for each in schedules for made in each.producers]
    assert {made.spool for made in producers} == {"ample", "small", "full_disk"}
    assert {each.backends for each in schedules} == {1, 2}
    for trait in ("flood", "shuffled", "clock"):
        assert any(getattr(made, trait) for made in producers)
    assert any(made.width == 10_000 for made in producers)
    assert any(made.relayout <= made.steps for made in producers)


def test_a_seed_is_one_schedule() -> None:
    assert drawn(5, "sqlite") == drawn(5, "sqlite")
    assert drawn(5, "sqlite") != drawn(6, "sqlite") != drawn(6, "postgresql")


def test_a_soak_that_was_ended_goes_on_and_sums_up_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "soak.jsonl"
    known = {"seed": 0, "database": "sqlite", "produced": 7, "stored": 7, "wrong": [], "counts": {"backend_killed": 1}}
    results.write_text(soak.json.dumps(known) + "\n")
    monkeypatch.setattr("sys.argv", ["faults", "--count", "1", "--results", str(results)])
    assert soak.main() == 0
    assert "| sqlite | 1 | 0 | 7 | 7 |" in capsys.readouterr().out
    results.write_text(soak.json.dumps({**known, "wrong": ["a frame is lost"]}) + "\n")
    assert soak.main() == 1
