"""Alerts of real runs, told to real receivers by the real service, also through its death."""

import base64
import hashlib
import hmac
import json
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.app.receivers import web_server
from tests.end_to_end.service import Service, eventually, running

SETTINGS = {"GYROSTAT_CHANNEL_ALLOW": "127.0.0.0/8", "GYROSTAT_PUBLIC_URL": "https://gyrostat.example.org/"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service for tests that leave it alive."""
    with running(tmp_path_factory.mktemp("shared"), **SETTINGS) as service:
        yield service


@pytest.fixture
def lasting(shared: Service) -> Iterator[Service]:
    """The shared service, without channels before and after."""
    yield shared
    for item in shared.http.get("/v1/channels").json()["items"]:
        shared.http.delete(f"/v1/channels/{item['id']}").raise_for_status()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service of the test's own."""
    with running(tmp_path, **SETTINGS) as service:
        yield service


def make_channel(service: Service, url: str, **more: Any) -> dict[str, Any]:
    answer = service.http.post("/v1/channels", json={"name": "team", "target": {"kind": "webhook", "url": url}, **more})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def attach(service: Service, name: str) -> str:
    """A training that sends its measurements, with its layout."""
    run = service.http.post("/v1/runs", json={"attached": True, "name": name}).json()["id"]
    metric = {"name": "loss.train", "unit": "1", "axis": "run", "description": "The loss."}
    layout = {"version": 1, "axes": {}, "metrics": [metric]}
    sent = service.http.post(
        f"/v1/runs/{run}/layout", json={"producer": "p", "sequence": 1, "attempt": 1, "layout": layout}
    )
    assert sent.status_code == 200, sent.text
    return str(run)


def send_losses(service: Service, run: str, sequence: int, first: int, losses: list[float | str]) -> None:
    steps = list(range(first, first + len(losses)))
    frames = {
        "producer": "p", "sequence": sequence, "attempt": 1, "layout": 1, "steps": steps,
        "times": [1.77e9 + step for step in steps], "columns": [{"metric": "loss.train", "values": losses}],
    }  # fmt: skip
    answer = service.http.post(f"/v1/runs/{run}/frames", json=frames)
    assert answer.json()["status"] == "stored", answer.text


def test_an_alert_of_a_run_s_frames_is_told_and_so_is_that_it_is_over(lasting: Service) -> None:
    service = lasting
    with web_server() as hook:
        channel = make_channel(service, hook.url)
        run = attach(service, "</script>\u2028 run")
        send_losses(service, run, 2, 1, [2.3, "NaN"])
        send_losses(service, run, 3, 3, [2.3] * 30)
        eventually(lambda: len(hook.got) == 2, within=20)
        opened, resolved = (json.loads(got.body) for got in hook.got)
        secret = base64.b64decode(channel["secret"].removeprefix("whsec_"))
        for got in hook.got:
            signed = f"{got.headers['webhook-id']}.{got.headers['webhook-timestamp']}.".encode() + got.body
            expected = base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()
            assert got.headers["webhook-signature"] == f"v1,{expected}"
            assert abs(time.time() - int(got.headers["webhook-timestamp"])) < 60
    (alert,) = service.alerts(run)
    assert (opened["type"], resolved["type"]) == ("alert.opened", "alert.resolved")
    assert opened["data"]["alert"]["id"] == resolved["data"]["alert"]["id"] == alert["id"]
    assert (opened["data"]["alert"]["state"], resolved["data"]["alert"]["state"]) == ("open", "resolved")
    assert resolved["data"]["alert"] == alert, "as the API shows it"
    assert opened["data"]["run"]["name"] == "</script>\u2028 run"
    assert opened["data"]["link"] == f"https://gyrostat.example.org/runs/{run}"
    assert opened["id"] == hook.got[0].headers["webhook-id"] != resolved["id"]
    told = service.http.get(f"/v1/channels/{channel['id']}/deliveries").json()["items"]
    assert [(each["state"], each["status"], each["tries"]) for each in told] == [("sent", 204, 1)] * 2
    metrics = service.http.get("/metrics").text
    (sent,) = re.findall(r'gyrostat_notifications_total{kind="webhook",outcome="sent"} (.+)', metrics)
    assert float(sent) >= 2
    assert "gyrostat_notifications_waiting 0.0" in metrics
    assert "not-to-be-told" not in service.logs(), "a webhook's address holds a token"
    assert channel["secret"] not in service.logs()


def test_what_a_killed_service_had_not_told_is_told_at_its_next_start(service: Service) -> None:
    with web_server() as hook:
        answered, killed = threading.Event(), threading.Event()
        hook.before = lambda: (answered.set(), killed.wait(60))[0]
        make_channel(service, hook.url)
        for number in range(2):
            run = attach(service, f"run {number}")
            send_losses(service, run, 2, 1, [2.3, "NaN"])
        assert answered.wait(20), "one is being told, the other waits"
        service.kill_backend()
        hook.before = lambda: None
        killed.set()
        service.start_backend()
        eventually(lambda: len(hook.got) == 3, within=30)
    documents = [json.loads(got.body) for got in hook.got]
    assert [document["data"]["run"]["name"] for document in documents] == ["run 0", "run 0", "run 1"]
    assert documents[0]["id"] == documents[1]["id"], "under the same id, so that the receiver can leave it out"
    assert hook.got[0].headers["webhook-id"] == hook.got[1].headers["webhook-id"]


@pytest.mark.postgresql
def test_two_services_on_one_database_tell_each_alert_once(postgresql_database_url: str, tmp_path: Path) -> None:
    with (
        running(tmp_path / "one", postgresql_database_url, **SETTINGS) as one,
        running(tmp_path / "two", postgresql_database_url, **SETTINGS) as two,
        web_server() as hook,
    ):
        channel = make_channel(one, hook.url)
        for number in range(8):
            service = (one, two)[number % 2]
            send_losses(service, attach(service, f"run {number}"), 2, 1, [2.3, "NaN"])
        eventually(lambda: len(hook.got) >= 8, within=30)
        time.sleep(2)  # for one that would be told twice
        told = two.http.get(f"/v1/channels/{channel['id']}/deliveries").json()["items"]
    assert sorted(json.loads(got.body)["data"]["run"]["name"] for got in hook.got) == [f"run {n}" for n in range(8)]
    assert [(each["state"], each["tries"]) for each in told] == [("sent", 1)] * 8
    assert [got.headers["webhook-id"] for got in hook.got] == [each["id"] for each in told[::-1]], "in their order"


def test_a_receiver_that_comes_back_gets_what_it_missed(lasting: Service) -> None:
    service = lasting
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{reserved.getsockname()[1]}/"
        lost = make_channel(service, nobody)
        with web_server() as hook:
            hook.answers = [(500, {}), (503, {"retry-after": "1"}), (204, {})]
            flaky = make_channel(service, hook.url)
            run = attach(service, "run")
            send_losses(service, run, 2, 1, [2.3, "NaN"])

            def told(channel: dict[str, Any]) -> Any:
                return service.http.get(f"/v1/channels/{channel['id']}").json()["last"]

            assert eventually(lambda: (told(lost) or {}).get("error"), within=20).startswith("no connection")
            assert told(lost)["state"] == "waiting"
            eventually(lambda: len(hook.got) == 3, within=60)
            eventually(lambda: told(flaky)["state"] == "sent", within=10)
            assert told(flaky)["tries"] == 3
            assert len({got.headers["webhook-id"] for got in hook.got}) == 1
        (retried,) = re.findall(r'{kind="webhook",outcome="retried"} (.+)', service.http.get("/metrics").text)
        assert float(retried) >= 3


def test_receivers_that_never_answer_hold_up_nobody_else_nor_the_end(service: Service) -> None:
    with web_server() as hook, socket.create_server(("127.0.0.1", 0)) as silent:
        for _ in range(3):
            make_channel(service, f"http://127.0.0.1:{silent.getsockname()[1]}/")
        make_channel(service, hook.url)
        run = attach(service, "run")
        began = time.monotonic()
        send_losses(service, run, 2, 1, [2.3, "NaN"])
        eventually(lambda: hook.got, within=20, every=0.02)
        assert time.monotonic() - began < 4, "not after the others' 5 s"
        for sequence in range(3, 30):
            send_losses(service, run, sequence, 10 * sequence, [2.3])
        assert service.backend is not None
        time.sleep(max(0.0, began + 7.0 - time.monotonic()))  # so that they are at it again
        send_losses(service, attach(service, "more"), 2, 1, ["NaN"])
        service.backend.send_signal(signal.SIGTERM)
        ended = time.monotonic()
        service.backend.wait(10)
        assert time.monotonic() - ended < 5
    assert '"level": "error"' not in service.logs()
    assert "Traceback" not in service.logs()
