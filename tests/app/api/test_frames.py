"""Frames over HTTP, as a training process or anybody else may send them."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import msgspec
import numpy as np
import pytest

from gyrostat.stream.ledger import Count
from gyrostat.stream.spool import Spool
from gyrostat.stream.stream import Stream
from gyrostat.stream.transport import HttpTransport
from gyrostat.wire import codec
from gyrostat.wire.frame import Batch, Column
from tests.app.control import served
from tests.gyrostat.stream.frames import frame, layout, points

LAYOUT = {
    "version": 1,
    "axes": {"module": ["a", "b"]},
    "metrics": [
        {"name": "test.scalar", "unit": "1", "axis": "run"},
        {"name": "test.vector", "unit": "V", "axis": "module", "description": "A vector."},
    ],
}


@pytest.fixture
def http(database_url: str, tmp_path) -> Iterator[httpx.Client]:
    with (
        served(tmp_path / "data", database_url=database_url) as (_, url),
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        yield client


@pytest.fixture
def run(http: httpx.Client) -> str:
    answer = http.post("/v1/runs", json={"attached": True, "name": "mine"})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def _message(sequence: int = 1, **content: object) -> dict[str, object]:
    return {"producer": "test", "sequence": sequence, "attempt": 1, **content}


def _frames(sequence: int = 2, **changes: object) -> dict[str, object]:
    columns = [
        {"metric": "test.scalar", "values": [1.5, "Infinity"]},
        {"metric": "test.vector", "rows": [1], "values": [["NaN", None]]},
    ]
    return _message(sequence, layout=1, steps=[1, 2], times=[1.7e9, 1.7e9 + 1], columns=columns) | changes


@pytest.fixture
def ready(http: httpx.Client, run: str) -> str:
    """The run's address, with its layout sent."""
    answer = http.post(f"/v1/runs/{run}/layout", json=_message(layout=LAYOUT))
    assert answer.json() == {
        "status": "stored",
        "sequence": 1,
        "frames": 0,
        "points": 0,
        "missing": [],
        "tighten": False,
    }
    return f"/v1/runs/{run}"


def test_json_and_msgpack_are_stored_alike_and_once(http: httpx.Client, ready: str) -> None:
    first = http.post(f"{ready}/frames", json=_frames())
    assert first.status_code == 200, first.text
    assert first.json() == {
        "status": "stored",
        "sequence": 2,
        "frames": 2,
        "points": 4,
        "missing": [],
        "tighten": first.json()["tighten"],
    }
    assert http.post(f"{ready}/frames", json=_frames()).json()["status"] == "duplicate"
    batch = Batch(
        producer="test",
        sequence=5,
        attempt=1,
        layout=1,
        steps=np.array([7]),
        times=np.array([1.7e9]),
        epochs=np.array([0.5]),
        columns=(Column(metric="test.scalar", rows=np.array([0], dtype=np.uint32), values=np.float32([[-2.5]])),),
    )
    headers = {"Content-Type": codec.MSGPACK}
    second = http.post(f"{ready}/frames", content=codec.encode_msgpack(batch), headers=headers)
    assert (second.json()["status"], second.json()["missing"]) == ("stored", [[3, 4]])
    found = http.get(f"{ready}/metrics/test.scalar").json()
    assert (found["steps"], found["values"]) == ([1, 2, 7], [[1.5], ["Infinity"], [-2.5]])
    assert http.get(f"{ready}/metrics/test.vector").json()["values"] == [["NaN", None]]


def test_events_are_taken_in_and_told(http: httpx.Client, ready: str) -> None:
    event = {"kind": "finished", "at": 1.7e9, "step": 3, "data": {}}
    answer = http.post(f"{ready}/events", json=_message(2, events=[event]))
    assert answer.json()["status"] == "stored"
    assert http.get(ready).json()["state"] == "finished"


def _refused(answer: httpx.Response, status: int) -> dict[str, object]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, object] = answer.json()
    assert document["status"] == status
    assert len(str(document["detail"])) > 20
    return document


BAD = {
    "no object": ([], 422),
    "unknown field": (_frames(colour="red"), 422),
    "wrong type": (_frames(steps="1"), 422),
    "a bool for a number": (_frames(columns=[{"metric": "test.scalar", "values": [True, False]}]), 422),
    "no steps": (_frames(steps=[], times=[]), 422),
    "steps that fall": (_frames(steps=[2, 1]), 422),
    "a huge step": (_frames(steps=[1, 2**60]), 422),
    "a step beyond 64 bits": (_frames(steps=[1, 2**70]), 422),
    "a negative row": (_frames(columns=[{"metric": "test.scalar", "rows": [-1], "values": [1]}]), 422),
    "ragged rows": (_frames(columns=[{"metric": "test.vector", "values": [[1, 2], [1]]}]), 422),
    "a metric twice": (_frames(columns=[{"metric": "test.scalar", "values": [1, 2]}] * 2), 422),
    "a metric that is not declared": (_frames(columns=[{"metric": "test.other", "values": [1, 2]}]), 422),
    "too wide": (_frames(columns=[{"metric": "test.vector", "values": [[1, 2, 3], [1, 2, 3]]}]), 422),
    "a layout that was not sent": (_frames(layout=9), 422),
    "an attempt that never was": (_frames(attempt=9), 409),
    "sequence 0": (_frames(sequence=0), 422),
    "a bad producer": (_frames(producer="a\nb"), 422),
    "an odd word for NaN": (_frames(columns=[{"metric": "test.scalar", "values": ["nan", 1]}]), 422),
}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_bad_frames_are_refused_one_by_one_and_nothing_is_stored(http: httpx.Client, ready: str) -> None:
    for name, (body, status) in BAD.items():
        document = _refused(http.post(f"{ready}/frames", json=body), status)
        assert status != 422 or document.get("problems") or name == "", name
    packed = {"Content-Type": codec.MSGPACK}
    plain = {"Content-Type": codec.JSON}
    _refused(http.post(f"{ready}/frames", content=b'{"steps": [NaN]}', headers=plain), 400)
    _refused(http.post(f"{ready}/frames", content=b"\x00garbage{", headers=plain), 400)
    _refused(http.post(f"{ready}/frames", content=b"\xc1garbage", headers=packed), 400)
    _refused(http.post(f"{ready}/frames", content=msgspec.msgpack.encode({"steps": b"123"}), headers=packed), 422)
    _refused(http.post(f"{ready}/frames", content=b"", headers=packed), 400)
    _refused(http.post(f"{ready}/frames", content=json.dumps(_frames()), headers={"Content-Type": "text/plain"}), 415)
    _refused(http.post(f"{ready}/frames", content=json.dumps(_frames())), 415)
    _refused(http.post(f"{ready}/layout", content=b"\x80", headers=packed), 415)
    _refused(http.post(f"{ready}/frames", content=b"[" * 100_000, headers=plain), 422)
    _refused(http.post("/v1/runs/nobody/frames", json=_frames()), 404)
    _refused(http.post("/v1/runs/nobody/events", json=_message(events=[])), 422)
    assert http.get(f"{ready}/metrics").json() == {"items": [], "next": None}
    assert http.post(f"{ready}/frames", json=_frames()).json()["missing"] == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_bad_layouts_and_events_are_refused(http: httpx.Client, run: str) -> None:
    bad = [
        {**LAYOUT, "metrics": [*LAYOUT["metrics"], {"name": "Bad Name", "unit": "1", "axis": "run"}]},
        {**LAYOUT, "axes": {}},
        {**LAYOUT, "axes": {"module": ["a", "a"]}},
        {**LAYOUT, "axes": {"module": ["a\u0000b", "c"]}},
        {**LAYOUT, "extra": 1},
    ]
    for wrong in bad:
        _refused(http.post(f"/v1/runs/{run}/layout", json=_message(layout=wrong)), 422)
    _refused(http.get(f"/v1/runs/{run}/layout"), 404)
    for event in ({"kind": "exploded", "at": 1.0, "step": 1}, {"kind": "log", "at": -1, "step": 1}, {}):
        _refused(http.post(f"/v1/runs/{run}/events", json=_message(events=[event])), 422)
    assert http.post(f"/v1/runs/{run}/layout", json=_message(layout=LAYOUT)).status_code == 200
    taken = _message(2, layout={**LAYOUT, "axes": {"module": ["z", "y"]}})
    _refused(http.post(f"/v1/runs/{run}/layout", json=taken), 409)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_mutated_binary_bodies_never_break_the_server(http: httpx.Client, ready: str) -> None:
    rng = np.random.default_rng(11)
    batch = codec.decode_json(json.dumps(_frames(2)).encode())
    good = codec.encode_msgpack(batch)
    for _ in range(300):
        body = bytearray(good)
        for position in rng.integers(0, len(body), rng.integers(1, 6)):
            body[position] = rng.integers(0, 256)
        cut = bytes(body[: rng.integers(0, len(body) + 1)]) if rng.random() < 0.3 else bytes(body)
        answer = http.post(f"{ready}/frames", content=cut, headers={"Content-Type": codec.MSGPACK})
        assert answer.status_code in (200, 400, 409, 422), answer.text


def test_a_full_backlog_puts_our_client_off_and_nothing_is_lost(tmp_path: Path) -> None:
    with (
        served(tmp_path / "data", max_backlog_bytes=1) as (server, url),
        httpx.Client(base_url=url, timeout=30) as http,
        ThreadPoolExecutor(2) as threads,
    ):
        run = http.post("/v1/runs", json={"attached": True}).json()["id"]
        stream = Stream(
            spool=Spool(tmp_path / "spool"), transport=HttpTransport(url), run=run, attempt=1, flush_seconds=0.05
        )
        stream.layout(layout())
        assert stream.flush(20)
        http.post(f"/v1/runs/{run}/layout", json=_message(1, layout=LAYOUT | {"version": 2})).raise_for_status()
        database, holding, go = server.app.state.database, threading.Event(), threading.Event()
        holder = threads.submit(database.write, lambda _: holding.set() or go.wait(60))
        assert holding.wait(20)
        # takes all the room while the writer is held
        first = threads.submit(http.post, f"/v1/runs/{run}/frames", json=_frames(layout=2))
        refused = server.app.state.telemetry.requests.labels("POST", "/v1/runs/{run_id}/frames", "429")
        try:
            _until(lambda: database.backlog.waiting[0] == 1)
            for step in range(1, 31):
                stream.emit(frame(step))
            _until(lambda: refused._value.get() >= 1)
            assert stream.ledger.acknowledged == Count()
        finally:
            go.set()
        assert holder.result(20)
        assert first.result(20).json()["status"] == "stored"
        ledger = stream.close(30)
        assert ledger.balanced
        assert ledger.acknowledged == ledger.produced == Count(30, points(range(1, 31)))
        found = http.get(f"/v1/runs/{run}/metrics/loss.train").json()
        assert found["steps"] == list(range(1, 31))


def test_a_refusal_for_want_of_room_says_when_to_come_back(tmp_path: Path) -> None:
    with (
        served(tmp_path / "data", max_backlog_bytes=1) as (server, url),
        httpx.Client(base_url=url, timeout=60) as http,
    ):
        run = http.post("/v1/runs", json={"attached": True}).json()["id"]
        with server.app.state.database.backlog.held(10):
            answer = http.post(f"/v1/runs/{run}/frames", json=_frames())
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["type"] == "urn:gyrostat:problem:too-many"


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)
