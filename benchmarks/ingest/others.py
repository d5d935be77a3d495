"""The same values written by hand: into SQLite, PostgreSQL and a file."""

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg

from benchmarks.ingest.ours import Cost
from gyrostat.wire.frame import Batch

Writer = Callable[[Path, Sequence[Batch], Sequence[bytes]], None]
"""Writes batches, which are also there as msgpack bodies, durably at that place, each before the next."""


def cost(writer: Writer, place: Path, batches: Sequence[Batch], bodies: Sequence[bytes]) -> Cost:
    """What the writer takes, at a place where nothing is."""
    for old in place.parent.glob(f"{place.name}*"):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    cpu, began = time.process_time(), time.perf_counter()
    writer(place, batches, bodies)
    return Cost(time.perf_counter() - began, time.process_time() - cpu)


def sqlite_rows(place: Path, batches: Sequence[Batch], _: Sequence[bytes]) -> None:
    """Step, metric, layer and value in each row, with the key that reading needs; a synced commit a batch."""
    table = "CREATE TABLE v (m INT, l INT, s INT, x REAL, PRIMARY KEY (m, l, s)) WITHOUT ROWID"
    with _sqlite(place, table) as database:
        for batch in batches:
            rows = (
                (metric, layer, step, value)
                for metric, column in enumerate(batch.columns)
                for step, row in zip(batch.steps.tolist(), column.values.tolist(), strict=True)
                for layer, value in enumerate(row)
            )
            database.executemany("INSERT INTO v VALUES (?, ?, ?, ?)", rows)
            database.commit()


def sqlite_blobs(place: Path, batches: Sequence[Batch], _: Sequence[bytes]) -> None:
    """The layers' values of a metric at a step in each row; a synced commit a batch."""
    with _sqlite(place, "CREATE TABLE v (m INT, s INT, x BLOB)") as database:
        for batch in batches:
            rows = (
                (metric, step, row.tobytes())
                for metric, column in enumerate(batch.columns)
                for step, row in zip(batch.steps.tolist(), column.values, strict=True)
            )
            database.executemany("INSERT INTO v VALUES (?, ?, ?)", rows)
            database.commit()


def file_append(place: Path, _: Sequence[Batch], bodies: Sequence[bytes]) -> None:
    """The bodies as they come: the floor."""
    with place.open("wb") as file:
        for body in bodies:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())


def postgresql_rows(url: str, batches: Sequence[Batch]) -> Cost:
    """Step, metric, layer and value in each row, by COPY, with the key that reading needs; a commit a batch.

    The CPU time is this process's: what the server takes is not in it.
    """
    with psycopg.connect(url) as database:
        database.execute("DROP TABLE IF EXISTS v")
        database.execute("CREATE TABLE v (m INT, l INT, s INT, x REAL, PRIMARY KEY (m, l, s))")
        database.commit()
        cpu, began = time.process_time(), time.perf_counter()
        for batch in batches:
            with database.cursor().copy("COPY v FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(["int4", "int4", "int4", "float4"])
                for metric, column in enumerate(batch.columns):
                    for step, row in zip(batch.steps.tolist(), column.values.tolist(), strict=True):
                        for layer, value in enumerate(row):
                            copy.write_row((metric, layer, step, value))
            database.commit()
        return Cost(time.perf_counter() - began, time.process_time() - cpu)


def postgresql_size(url: str) -> int:
    """Bytes of the table and its key."""
    with psycopg.connect(url) as database:
        found = database.execute("SELECT pg_total_relation_size('v')").fetchone()
    assert found is not None
    return int(found[0])


@contextmanager
def _sqlite(place: Path, table: str) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(place)) as database:
        database.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; {table}")
        yield database


WRITERS: dict[str, Writer] = {
    "SQLite, a row a point": sqlite_rows,
    "SQLite, a float32 blob a step and metric": sqlite_blobs,
    "file append and fsync": file_append,
}
