"""What is in the database and in the spools, read by the documented formats alone: no code of Gyrostat's.

The block format is that of docs/storage.md, the spool's that of `gyrostat/stream/segments.py`.
"""

import json
import sqlite3
import struct
import zlib
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import psycopg
import zstandard

Bits = bytes
Rows = dict[str, dict[int, list[Bits]]]
"""metric -> step -> float32 bits of each row that is stored there."""

KIND_PLAIN = 2


class Raised(NamedTuple):
    """An alert, but for what depends on the time of day."""

    rule: str
    state: str
    onset: int | None
    opened: int | None
    resolved: int | None


@dataclass
class Stored:
    """Everything that the database holds of a run.

    Attributes:
        rows: as measured. counts: rows by metric, as the catalogue has them.
        producers: who sent messages. missing: ranges of message numbers that never came, by producer.
        events: numbers that the `log` events carry, in order.
        alerts: those that were judged from frames. reopened: rules of alerts that were not opened exactly once.
    """

    rows: Rows = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    counts: dict[str, int] = field(default_factory=dict)
    producers: list[str] = field(default_factory=list)
    missing: dict[str, Any] = field(default_factory=dict)
    events: list[int] = field(default_factory=list)
    alerts: list[Raised] = field(default_factory=list)
    reopened: list[str] = field(default_factory=list)


class Reader:
    """One connection to an SQLite file or a PostgreSQL database."""

    def __init__(self, url: str) -> None:
        self._is_postgresql = url.startswith("postgresql")
        self._connection: Any = (
            psycopg.connect(url, connect_timeout=30)
            if self._is_postgresql
            else sqlite3.connect(url.removeprefix("sqlite:///"), timeout=60)
        )

    def query(self, sql: str, *parameters: Any) -> list[Any]:
        found: list[Any] = self._connection.execute(
            sql.replace("?", "%s") if self._is_postgresql else sql, parameters
        ).fetchall()
        self._connection.rollback()  # each query is a snapshot of its own
        return found

    def runs(self) -> list[tuple[str, str]]:
        """Name and id of each."""
        return [(name, run) for name, run in self.query("select name, id from run order by created_at, id")]

    def num_blocks(self) -> int:
        """Falls when small blocks are merged."""
        return int(self.query("select count(*) from block where level = 0")[0][0])

    def check(self) -> list[str]:
        """What the database itself finds wrong."""
        if self._is_postgresql:
            return []
        found = [str(row) for row in self.query("pragma integrity_check") if row != ("ok",)]
        return found + [f"refers to nothing: {row}" for row in self.query("pragma foreign_key_check")]

    def of_run(self, run: str) -> Stored:
        stored = Stored()
        blocks = self.query(
            """select metric.name, block.body from block join metric on metric.id = metric_id
               where run_id = ? and level = 0 order by block.id""",
            run,
        )
        for metric, body in blocks:
            steps, values = rows_of(bytes(body))
            for step, row in zip(steps.tolist(), values, strict=True):
                stored.rows[metric][step].append(row.tobytes())
        stored.counts = dict(self.query("select name, count from metric where run_id = ?", run))
        producers = self.query("select name, missing from producer where run_id = ?", run)
        stored.producers = [name for name, _ in producers]
        stored.missing = {name: gaps for name, text in producers if (gaps := _json(text))}
        events = self.query("select data from event where run_id = ? and kind = 'log' order by id", run)
        stored.events = [int(_json(data)["number"]) for (data,) in events]
        raised = self.query(
            """select rule, state, onset_step, opened_step, resolved_step from alert
               where run_id = ? and kind <> 'worker_lost'""",
            run,
        )
        stored.alerts = sorted((Raised(*row) for row in raised), key=str)
        stored.reopened = [rule for (rule,) in self.query(
            """select alert.rule from alert join alert_change on alert_id = alert.id
               where run_id = ? and alert_change.kind = 'opened' group by alert.id, alert.rule having count(*) <> 1""",
            run,
        )]  # fmt: skip
        return stored

    def close(self) -> None:
        self._connection.close()


def rows_of(body: bytes) -> tuple[Any, Any]:
    """Steps (rows,) and values (rows, width) of a level-0 block.

    Raises:
        ValueError: it is not what docs/storage.md describes.
    """
    kind, rows, width, checksum, first, second = struct.unpack_from("<5xB2xIIIII", body)
    if body[:4] != b"GYRB" or zlib.crc32(body[20:], zlib.crc32(body[:16])) != checksum:
        raise ValueError("no block, or a damaged one")
    steps, values = body[28 : 28 + first], body[28 + first : 28 + first + second]
    if kind == KIND_PLAIN:
        return np.frombuffer(steps, "<i8"), np.frombuffer(values, "<f4").reshape(rows, width)
    z = _unshuffled(values, 4).view("<u4").reshape(width, rows)
    return (
        _unshuffled(steps, 8).view("<i8").ravel().cumsum(),
        ((z >> 1) ^ (0 - (z & 1)).astype("<u4")).cumsum(axis=1, dtype="<u4").T.copy().view("<f4"),
    )


def _unshuffled(frame: bytes, size: int) -> Any:
    raw = np.frombuffer(zstandard.ZstdDecompressor().decompress(frame), np.uint8)
    return np.ascontiguousarray(raw.reshape(size, -1).T)


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


_RECORD = struct.Struct("<IIBQ")
_HEAD_BYTES = 8
"""Length and checksum; the checksum starts from the length and covers the rest."""
_FRAMES, _EVENTS = 2, 3


@dataclass
class Spooled:
    """Steps and events that are on a producer's disk and not settled."""

    steps: set[int] = field(default_factory=set)
    events: set[int] = field(default_factory=set)
    records: int = 0


def spooled(folder: Path) -> Spooled:
    """What a spool still holds."""
    cursor = folder / "cursor"
    settled = int(cursor.read_text().split()[0]) if cursor.exists() else 0
    found = Spooled()
    for path in sorted(folder.glob("*.spool")):
        data, offset = path.read_bytes(), 0
        while len(data) - offset >= _RECORD.size:
            length, checksum, kind, sequence = _RECORD.unpack_from(data, offset)
            whole = data[offset + _HEAD_BYTES : offset + _RECORD.size + length]
            if offset + _RECORD.size + length > len(data) or zlib.crc32(whole, length) != checksum:
                break  # a tail that a kill has cut off
            offset += _RECORD.size + length
            if sequence > settled:
                _add(found, kind, whole[_RECORD.size - _HEAD_BYTES :])
    return found


def _add(found: Spooled, kind: int, payload: bytes) -> None:
    found.records += 1
    if kind == _FRAMES:
        steps = msgspec.msgpack.decode(payload)["steps"]
        found.steps |= set(np.frombuffer(steps, "<i8").tolist())
    elif kind == _EVENTS:
        events = json.loads(payload)["events"]
        found.events |= {event["data"]["number"] for event in events if event["kind"] == "log"}
