import math
from pathlib import Path

import msgspec
import numpy as np
import pytest

from gyrostat.stream.plain import MAX_EVENT_BYTES, MAX_TEXT, plain, plain_event
from gyrostat.wire.messages import Event


@pytest.mark.parametrize(
    ("value", "made"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (2**60, hex(2**60)),
        (0.5, 0.5),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        ("a\0b", "a�b"),
        ("\ud800", "?"),
        ((1, 2), [1, 2]),
        ({1: {"a": (math.nan,)}}, {"1": {"a": ["NaN"]}}),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.array([math.nan]), "NaN"),
        (Path("/tmp"), "/tmp"),
    ],
)
def test_anything_becomes_json_that_databases_store(value: object, made: object) -> None:
    assert plain(value) == made


def test_of_a_long_text_both_ends_are_kept() -> None:
    cut = plain("start" + "x" * 1_000_000 + "end")
    assert cut.startswith("start")
    assert cut.endswith("end")
    assert "characters left out" in cut
    assert len(cut) < MAX_TEXT + 100


def test_what_has_no_end_ends() -> None:
    circle: list[object] = []
    circle.extend([circle] * 10)
    assert len(msgspec.json.encode(plain(circle))) < MAX_EVENT_BYTES


def test_an_event_stays_below_its_size() -> None:
    data = plain_event({f"trace {i}": "x" * 100_000 for i in range(100)})
    assert len(msgspec.json.encode(data)) <= MAX_EVENT_BYTES
    Event(kind="failed", at=1.0, step=1, data=data)
    assert plain_event({"a": 1}) == {"a": 1}
