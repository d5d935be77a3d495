"""Bodies of frames as nobody honest sends them: valid ones, changed at random or on purpose."""

import random
import struct
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from gyrostat.wire import codec
from gyrostat.wire.frame import Batch, Column

LAYOUT = {
    "version": 1,
    "axes": {"module": ["a", "b", "c"]},
    "metrics": [
        {"name": "loss.train", "unit": "1", "axis": "run"},
        {"name": "activation.rms", "unit": "1", "axis": "module"},
    ],
}


def valid(sequence: int, first: int) -> bytes:
    """Four frames from step `first` on."""
    steps = np.arange(first, first + 4, dtype=np.int64)
    rows = np.arange(4, dtype=np.uint32)
    return codec.encode_msgpack(
        Batch(
            producer="p",
            sequence=sequence,
            attempt=1,
            layout=1,
            steps=steps,
            times=1.7e9 + steps * 0.5,
            epochs=steps / 10,
            columns=(
                Column(metric="loss.train", rows=rows, values=np.float32([[2.0], [1.9], [1.8], [1.7]])),
                Column(metric="activation.rms", rows=rows[::2], values=np.full((2, 3), 0.5, np.float32)),
            ),
        )
    )


CLAIMS = (
    b"\xdb\xff\xff\xff\xff",  # a string, an array, a map, bytes, an extension of 4 GiB
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x01",
    b"\xcf" + b"\xff" * 8,
    b"\xd3\x80" + b"\x00" * 7,
    b"\xcb\x7f\xf8" + b"\x00" * 6,
    b"\x91" * 5000,
    b"\x81\xa1a" * 3000,
    b"\xc1",
    b"\xd9\x04\xff\xfe\xfd\xfc",
)
INT64 = (0, 1, -1, 2**31, 2**53, 2**53 + 1, 2**63 - 1, -(2**63))
NUMBERS: tuple[Any, ...] = (*INT64, 2**64 - 1, 1.5, float("nan"), None, True, "1", b"1", [], {})
TEXTS: tuple[Any, ...] = (
    "", "x" * 100_000, "a\0b", "../../etc/passwd", "<script>", "loss.train'; DROP TABLE run; --", "é", "\U0001f9e8",
    b"p", 7, None,
)  # fmt: skip


MUCH = 64_000_000


def packed(values: list[float], kind: str) -> bytes:
    return struct.pack(f"<{len(values)}{kind}", *values)


def flipped(body: bytes, dice: random.Random) -> bytes:
    changed = bytearray(body)
    for _ in range(dice.choice((1, 1, 2, 8, 64))):
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def cut(body: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(len(body))
    return body[:start] + body[start + dice.randrange(1, 40) :] if dice.random() < 0.5 else body[:start]


def repeated(body: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(len(body))
    piece = body[start : start + dice.randrange(1, 60)]
    return body[:start] + piece * dice.choice((2, 3, 50, 2000)) + body[start:]


def claimed(body: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(len(body))
    return body[:start] + dice.choice(CLAIMS) + body[start + dice.randrange(6) :]


def meant(body: bytes, dice: random.Random) -> bytes:
    """A whole document, some of whose values are not what they should be."""
    document = msgspec.msgpack.decode(body)
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        _spoil(document, dice)
    columns = document.get("columns")
    if isinstance(columns, list) and len(columns) * len(msgspec.msgpack.encode(columns[:1])) > MUCH:
        document["columns"] = columns[:3]  # many copies of what was made large would be gigabytes
    return msgspec.msgpack.encode(document)


def _spoil(document: dict[str, Any], dice: random.Random) -> None:
    key = dice.choice([*document, "columns", "columns", "unknown"])
    column = document["columns"][0] if isinstance(document.get("columns"), list) and document["columns"] else {}
    if key in ("sequence", "attempt", "layout", "unknown", "recalled"):
        document[key] = dice.choice(NUMBERS)
    elif key == "producer":
        document[key] = dice.choice(TEXTS)
    elif key == "steps":
        steps = [dice.choice(INT64) for _ in range(dice.choice((0, 1, 4, 5)))]
        document[key] = dice.choice((packed(steps, "q"), packed(sorted(set(steps)), "q"), b"\x00" * 8 * 100_000, b"x"))
    elif key in ("times", "epochs"):
        numbers = [float("nan"), float("inf"), 1e308, -1.0]
        document[key] = dice.choice((packed(numbers, "d"), b"", b"\x7f" * 31, b"\x00" * 800_000))
    elif isinstance(column, dict):
        _spoil_column(document, column, dice)


def _spoil_column(document: dict[str, Any], column: dict[str, Any], dice: random.Random) -> None:
    choices: list[Callable[[], Any]] = [
        lambda: column.update(metric=dice.choice(TEXTS)),
        lambda: column.update(rows=packed([dice.choice((0, 1, 3, 4, 2**32 - 1)) for _ in range(4)], "I")),
        lambda: column.update(rows=b""),
        lambda: column.update(values=dice.choice((b"", b"\x00\x00\x80\x7f" * 4, b"\xff" * 16, b"\x00" * 4_000_000))),
        lambda: document.update(columns=[column] * dice.choice((0, 2, 600))),
        lambda: document.update(columns=[{}] * 100_000),
        lambda: document.update(columns=dice.choice(NUMBERS)),
        lambda: column.update(dice.choice(({"more": 1}, {"metric": None}))),
    ]
    dice.choice(choices)()


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (flipped, cut, repeated, claimed, meant, meant, meant)


def mutated(number: int, sequence: int, first: int) -> bytes:
    """The valid body, changed; the same `number` changes it in the same way."""
    dice = random.Random(number)
    return dice.choice(MUTATIONS)(valid(sequence, first), dice)
