"""`make soak`: many schedules of faults, and where every frame of them is.

`python -m tests.faults --count 1000` plays the seeds 0 to 999, by turns on SQLite and PostgreSQL, and adds a line for
each to `--results`; seeds that are in there already are not played again, so that a soak that was ended goes on.
`--seed 17` plays that one alone, says what was drawn, and keeps its folder.
"""

import argparse
import json
import multiprocessing
import multiprocessing.util
import os
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from tests.databases import NoServer, PostgresServer, make_template
from tests.faults.play import play
from tests.faults.schedule import DATABASES, Database, drawn

COLUMNS = (
    "schedules",
    "wrong",
    "produced",
    "stored",
    "rejected",
    "dropped",
    "killed",
    "spooled",
    "values",
    "duplicates",
)


@contextmanager
def postgres() -> Iterator[PostgresServer]:
    """A server of one's own, which may be killed."""
    server = PostgresServer()
    try:
        server.start()
        make_template(server.url)
        yield server
    finally:
        server.remove()


def played(seed: int, database: Database, server: PostgresServer | None, folder: Path) -> dict[str, Any]:
    """One schedule as a line of the results."""
    schedule = drawn(seed, database)
    try:
        outcome = play(schedule, folder, server)
    except Exception:
        return {"seed": seed, "database": database, "wrong": [traceback.format_exc()], "counts": {}, "seconds": 0.0}
    account = outcome.account
    return {
        "seed": seed,
        "database": database,
        "faults": [fault.kind for fault in schedule.faults],
        "produced": account.produced,
        "stored": account.stored,
        "spooled": account.spooled,
        "rejected": sum(account.rejected.values()),
        "killed": account.dropped["killed"],
        "dropped": sum(account.dropped.values()) - account.dropped["killed"],
        "values": account.values,
        "duplicates": account.duplicates,
        "wrong": account.wrong,
        "counts": dict(outcome.counts),
        "seconds": round(outcome.seconds, 1),
    }


class Soak:
    """Plays schedules, several at once, each in a process of its own with a PostgreSQL of its own."""

    def __init__(self, results: Path, *, keep: bool) -> None:
        self._results, self._keep = results, keep

    def run(self, waiting: list[tuple[int, Database]], jobs: int) -> None:
        """All of them; on Ctrl-C, which reaches this process alone, those that are being played and no others."""
        with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=os.setsid) as pool:
            playing = {pool.submit(_play, seed, database, self._keep) for seed, database in waiting}
            try:
                while playing:
                    done, playing = wait(playing, return_when=FIRST_COMPLETED)
                    self._write(done)
            except KeyboardInterrupt:
                print("those at hand are played to their end; the same command goes on from there", flush=True)
                self._write({each for each in playing if not each.cancel()})

    def _write(self, played: Iterable[Future[dict[str, Any]]]) -> None:
        for found in (each.result() for each in played):
            with self._results.open("a") as file:
                file.write(json.dumps(found) + "\n")
            _tell(found)


def _play(seed: int, database: Database, keep: bool) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix=f"gyrostat-faults-{database}-{seed}-"))
    found = played(seed, database, _own_server() if database == "postgresql" else None, folder)
    if keep or found["wrong"]:
        found["folder"] = str(folder)
    else:
        shutil.rmtree(folder)
    return found


@cache
def _own_server() -> PostgresServer:
    """This process's; gone when the process ends."""
    stack = ExitStack()
    multiprocessing.util.Finalize(None, stack.close, exitpriority=1)
    return stack.enter_context(postgres())


def _tell(found: dict[str, Any]) -> None:
    verdict = "WRONG" if found["wrong"] else "sound"
    faults = " ".join(found.get("faults", []))
    print(f"{found['seed']:5} {found['database']:10} {verdict} {found['seconds']:6.1f} s  {faults}")
    for wrong in found["wrong"]:
        print(f"      {wrong}")
    if "folder" in found:
        print(f"      kept in {found['folder']}")
    sys.stdout.flush()


def table(results: list[dict[str, Any]]) -> str:
    """The books of all schedules together, by database."""
    rows = ["| database | " + " | ".join(COLUMNS) + " |", "| --- |" + " ---: |" * len(COLUMNS)]
    for database in DATABASES:
        of = [found for found in results if found["database"] == database]
        sums: Counter[str] = Counter()
        for found in of:
            sums.update({name: found.get(name, 0) for name in COLUMNS[2:]})
        cells = [len(of), sum(bool(found["wrong"]) for found in of), *(sums[name] for name in COLUMNS[2:])]
        rows.append(f"| {database} | " + " | ".join(str(cell) for cell in cells) + " |")
    counts: Counter[str] = Counter()
    for found in results:
        counts.update(found["counts"])
    starts = counts.pop("backend_starts", 0)
    milliseconds = counts.pop("backend_start_milliseconds", 0)
    rows.append(f"\n{starts} starts of a backend, {milliseconds / max(1, starts):.0f} ms each until it answered")
    rows += [f"- {name}: {times}" for name, times in sorted(counts.items())]
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="play this one alone, on --database")
    parser.add_argument("--database", choices=DATABASES, help="only this one (default: by turns)")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--results", type=Path, default=Path("var/soak.jsonl"))
    options = parser.parse_args()
    seeds = [options.seed] if options.seed is not None else range(options.first, options.first + options.count)
    wanted: list[tuple[int, Database]] = [(seed, options.database or DATABASES[seed % 2]) for seed in seeds]
    options.results.parent.mkdir(parents=True, exist_ok=True)
    if options.seed is not None:
        for each in wanted:
            print(drawn(*each))
    else:
        known = {(found["seed"], found["database"]) for found in _read(options.results)}
        wanted = [each for each in wanted if each not in known]
    try:
        Soak(options.results, keep=options.seed is not None).run(wanted, options.jobs)
    except NoServer as error:
        print(f"no PostgreSQL here: {error}; choose --database sqlite", file=sys.stderr)
        return 2
    results = [found for found in _read(options.results) if found["seed"] in seeds]
    print(table(results))
    return int(any(found["wrong"] for found in results))


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
