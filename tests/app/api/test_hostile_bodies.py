"""Hostile bodies against a real server: no 5xx, nothing stored of what is refused, and memory stays where it was.

GYROSTAT_HOSTILE says how many mutated bodies of frames are sent; `make hostile` sends 10 000.
"""

import gzip
import hashlib
import json
import os
import sqlite3
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from gyrostat.wire import codec
from tests.app.hostile import LAYOUT, mutated, valid
from tests.end_to_end.service import Service, running

COUNT = int(os.environ.get("GYROSTAT_HOSTILE", "400"))
WARMED_UP = 200
MIB = 1 << 20
MAX_GROWTH = 100 * MIB
LIMIT = 8 * MIB
REFUSALS = {400, 409, 413, 415, 422}
FRAMES = {"Content-Type": codec.MSGPACK}

# what a body may change and merging in the background does not (which keeps one of several rows of a step)
QUERIES = (
    "SELECT id, state, step, revision, name FROM run ORDER BY id",
    "SELECT run_id, attempt, name, last, missing FROM producer ORDER BY 1, 2, 3",
    "SELECT run_id, attempt, version, document FROM layout ORDER BY 1, 2, 3",
    "SELECT run_id, name, count, first_step, last_step, latest, latest_layout FROM metric ORDER BY 1, 2",
    "SELECT metric_id, min(first_step), max(last_step) FROM block WHERE level = 0 GROUP BY 1 ORDER BY 1",
    "SELECT run_id, body FROM detector_state ORDER BY 1",
    "SELECT id, state, updated_at FROM alert ORDER BY 1",
    "SELECT count(*), max(id) FROM event",
    "SELECT count(*) FROM transition",
    "SELECT count(*) FROM sample",
    "SELECT kind, override FROM rule ORDER BY 1",
    "SELECT count(*) FROM token",
)


class Stored:
    """What the service's database holds, seen from outside."""

    def __init__(self, folder: Path) -> None:
        self._connection = sqlite3.connect(folder / "gyrostat.sqlite")

    def digest(self) -> dict[str, str]:
        """Of what each query finds."""
        return {query: _digest(self._connection.execute(query).fetchall()) for query in QUERIES}

    def close(self) -> None:
        self._connection.close()


def _digest(rows: list[Any]) -> str:
    return hashlib.sha256(repr(rows).encode()).hexdigest()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("hostile")) as service:
        service.http.timeout = httpx.Timeout(60)
        yield service


@pytest.fixture
def stored(service: Service) -> Iterator[Stored]:
    stored = Stored(service.folder)
    yield stored
    stored.close()


@pytest.fixture
def run(service: Service) -> str:
    """An attached run whose layout and first frames are there."""
    run = str(service.http.post("/v1/runs", json={"attached": True, "name": "target"}).json()["id"])
    message = {"producer": "p", "sequence": 1, "attempt": 1, "layout": LAYOUT}
    assert service.http.post(f"/v1/runs/{run}/layout", json=message).is_success
    assert service.http.post(f"/v1/runs/{run}/frames", content=valid(2, 1), headers=FRAMES).is_success
    return run


def memory(service: Service) -> int:
    assert service.backend is not None
    return int(psutil.Process(service.backend.pid).memory_info().rss)


def check_refusal(answer: httpx.Response, told: Any) -> None:
    assert answer.status_code in REFUSALS, (told, answer.status_code, answer.text[:500])
    assert answer.headers["content-type"] == "application/problem+json", told
    assert answer.json()["detail"], told
    assert len(answer.content) < 100_000, told


def test_mutated_frames_are_refused_or_stored_whole(service: Service, stored: Stored, run: str) -> None:
    seen: Counter[str] = Counter()
    sequence, digest, before = 3, stored.digest(), 0
    for number in range(COUNT):
        if number == min(WARMED_UP, COUNT // 2):
            before = memory(service)
        body = mutated(number, sequence, first=4 * sequence)
        answer = service.http.post(f"/v1/runs/{run}/frames", content=body, headers=FRAMES)
        if answer.status_code == 200:
            acknowledged = answer.json()
            seen[acknowledged["status"]] += 1
            if acknowledged["status"] == "duplicate":
                assert stored.digest() == digest, number
            sequence = (
                max(sequence, int(acknowledged["sequence"]) + 1) if acknowledged["sequence"] < 10**6 else sequence
            )
            digest = stored.digest()
        else:
            check_refusal(answer, number)
            seen["refused"] += 1
            assert stored.digest() == digest, number
    assert seen["refused"] > COUNT / 2
    assert seen["stored"] > 0, "some changes leave a batch that can be stored"
    assert memory(service) - before < MAX_GROWTH
    probe = service.http.get(f"/v1/runs/{run}/metrics/loss.train")
    assert probe.status_code == 200, "what was stored can be read"


@pytest.mark.parametrize("depth", [50, 500, 900, 5000, 100_000])
@pytest.mark.parametrize("place", ["events", "patch", "rules", "layout", "frames", "whole"])
def test_deep_nesting_ends_nothing(service: Service, stored: Stored, run: str, depth: int, place: str) -> None:
    nested = "[" * depth + "]" * depth
    event = f'{{"kind": "log", "at": 1.7e9, "step": 1, "data": {{"message": {nested}}}}}'
    message = '"producer": "q", "sequence": 1, "attempt": 1'
    method, path, body = {
        "events": ("POST", f"/v1/runs/{run}/events", f'{{{message}, "events": [{event}]}}'),
        "patch": ("POST", "/v1/runs", f'{{"preset": "digits-mlp", "patch": {{"model": {nested}}}}}'),
        "rules": ("PUT", "/v1/rules", f'{{"rules": {{"loss_spike": {{"settings": {{"sigmas": {nested}}}}}}}}}'),
        "layout": ("POST", f"/v1/runs/{run}/layout", f'{{{message}, "layout": {nested}}}'),
        "frames": ("POST", f"/v1/runs/{run}/frames", f'{{{message}, "layout": 1, "steps": {nested}}}'),
        "whole": ("POST", "/v1/query", nested),
    }[place]
    digest = stored.digest()
    answer = service.http.request(method, path, content=body, headers={"Content-Type": "application/json"})
    if answer.status_code == 200:
        assert place == "events"
        shown = service.http.get("/v1/runs").status_code, service.http.get(f"/runs/{run}").status_code
        assert shown == (200, 200)
    else:
        check_refusal(answer, (place, depth))
        assert stored.digest() == digest


@pytest.mark.parametrize(
    "number", ["9" * 5000, "-" + "9" * 400, "1e999999", "1" + "0" * 30 + ".5", "0." + "1" * 10_000]
)
@pytest.mark.parametrize("field", ["sequence", "steps", "times", "values"])
def test_huge_numbers_are_refused_or_stored(
    service: Service, stored: Stored, run: str, number: str, field: str
) -> None:
    given = {"sequence": "7", "steps": "100", "times": "1.7e9", "values": "0.5", field: number}
    body = (
        f'{{"producer": "n", "sequence": {given["sequence"]}, "attempt": 1, "layout": 1, "steps": [{given["steps"]}], '
        f'"times": [{given["times"]}], "columns": [{{"metric": "loss.train", "values": [{given["values"]}]}}]}}'
    )
    digest = stored.digest()
    path, headers = f"/v1/runs/{run}/frames", {"Content-Type": "application/json"}
    answer = service.http.post(path, content=body, headers=headers)
    if answer.status_code != 200:
        check_refusal(answer, (field, number[:20]))
        assert stored.digest() == digest


def test_bombs_are_not_unpacked(service: Service, stored: Stored, run: str) -> None:
    digest, before = stored.digest(), memory(service)
    plain = b"\x00" * (512 * MIB)
    for name, bomb in (
        ("gzip", gzip.compress(plain, 9)),
        ("deflate", zlib.compress(plain, 9)),
        ("zstd", b"x"),
        ("br", b"x"),
    ):
        assert len(bomb) < MIB
        for path, headers in ((f"/v1/runs/{run}/frames", FRAMES), ("/v1/runs", {"Content-Type": "application/json"})):
            answer = service.http.post(path, content=bomb, headers={**headers, "Content-Encoding": name})
            assert answer.status_code == 415
            check_refusal(answer, name)
    assert memory(service) - before < MAX_GROWTH
    assert stored.digest() == digest


def test_a_body_of_the_limit_is_read_and_one_byte_more_is_not(service: Service, stored: Stored, run: str) -> None:
    digest, before = stored.digest(), memory(service)
    json_type = {"Content-Type": "application/json"}
    for size, status in ((LIMIT - 1, 422), (LIMIT, 422), (LIMIT + 1, 413)):
        body = b'{"name": "' + b"x" * (size - 12) + b'"}'
        assert len(body) == size
        answer = service.http.post("/v1/runs", content=body, headers=json_type)
        assert answer.status_code == status
        check_refusal(answer, size)

    def endless() -> Iterator[bytes]:
        for _ in range(LIMIT // 65536 + 4):
            yield b" " * 65536

    # no Content-Length: it is counted as it comes, and cut off
    try:
        answer = service.http.post("/v1/runs", content=endless(), headers=json_type)
    except httpx.WriteError:
        pass
    else:
        assert answer.status_code == 413
    assert memory(service) - before < MAX_GROWTH
    assert stored.digest() == digest
    assert service.http.get("/healthz").status_code == 200


def test_a_layout_that_claims_much_is_refused(service: Service, stored: Stored, run: str) -> None:
    digest, before = stored.digest(), memory(service)
    names = [f"n{number}" for number in range(20_001)]
    for layout in (
        {**LAYOUT, "axes": {"module": names}},
        {**LAYOUT, "axes": {"module": ["x" * 257]}},
        {**LAYOUT, "axes": {"module": ["a", "a"]}},
        {**LAYOUT, "metrics": LAYOUT["metrics"] * 300},
        {**LAYOUT, "version": 2**70},
    ):
        message = {"producer": "l", "sequence": 1, "attempt": 1, "layout": layout}
        check_refusal(
            service.http.post(
                f"/v1/runs/{run}/layout", content=json.dumps(message), headers={"Content-Type": "application/json"}
            ),
            layout["version"],
        )
    assert memory(service) - before < MAX_GROWTH
    assert stored.digest() == digest
