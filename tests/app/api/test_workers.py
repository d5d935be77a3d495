"""`/v1/workers` over HTTP: the whole way of a worker, and waiting for work."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.app.control import served

DESK = {"name": "desk", "host": "here", "pid": 1, "device": "cpu", "datasets": ["digits"], "version": "1"}


@pytest.fixture
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with served(tmp_path_factory.mktemp("data")) as (_, url), httpx.Client(base_url=url, timeout=20) as client:
        yield client


def test_a_worker_registers_claims_keeps_in_touch_and_is_told_to_stop(client: httpx.Client) -> None:
    worker = client.post("/v1/workers", json=DESK).json()
    assert worker["heartbeat_seconds"] == 2.0
    assert client.post(f"/v1/workers/{worker['id']}:claim").status_code == 204
    run = client.post("/v1/runs", json={"preset": "digits-mlp"}).json()["id"]
    assignment = client.post(f"/v1/workers/{worker['id']}:claim").json()
    assert (assignment["run"], assignment["attempt"], assignment["resume"]) == (run, 1, None)
    client.post(f"/v1/runs/{run}:stop")
    beat: dict[str, Any] = {"running": [{"run": run, "attempt": 1, "step": 3}]}
    answer = client.post(f"/v1/workers/{worker['id']}:heartbeat", json=beat).json()
    assert [(command["kind"], command["run"]) for command in answer["commands"]] == [("stop", run)]
    (shown,) = client.get("/v1/workers").json()["items"]
    assert (shown["runs"], shown["reachable"]) == ([run], True)
    assert client.get(f"/v1/runs/{run}").json()["worker"] == "desk"


def test_a_waiting_claim_is_answered_as_soon_as_a_run_is_queued(client: httpx.Client) -> None:
    worker = client.post("/v1/workers", json=DESK).json()["id"]
    threading.Timer(0.7, lambda: client.post("/v1/runs", json={"preset": "digits-mlp"})).start()
    began = time.monotonic()
    answer = client.post(f"/v1/workers/{worker}:claim", params={"wait": 15})
    assert answer.status_code == 200
    assert 0.6 < time.monotonic() - began < 3


def test_a_claim_that_waits_in_vain_is_told_so(client: httpx.Client) -> None:
    worker = client.post("/v1/workers", json=DESK).json()["id"]
    began = time.monotonic()
    assert client.post(f"/v1/workers/{worker}:claim", params={"wait": 0.5}).status_code == 204
    assert 0.5 <= time.monotonic() - began < 3


def test_who_went_away_is_given_nothing(client: httpx.Client) -> None:
    worker = client.post("/v1/workers", json=DESK).json()["id"]
    with pytest.raises(httpx.ReadTimeout):
        client.post(f"/v1/workers/{worker}:claim", params={"wait": 10}, timeout=0.5)
    time.sleep(0.3)
    run = client.post("/v1/runs", json={"preset": "digits-mlp"}).json()["id"]
    time.sleep(0.7)
    assert client.get(f"/v1/runs/{run}").json()["state"] == "queued"


def test_strangers_are_answered_404(client: httpx.Client) -> None:
    for action, body in (("claim", None), ("heartbeat", {})):
        answer = client.post(f"/v1/workers/nobody:{action}", json=body)
        assert answer.status_code == 404
        assert "POST /v1/workers" in answer.json()["detail"]
