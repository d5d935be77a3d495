"""Server-sent events from a real server."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import httpx

from tests.app.control import served


class Listener(threading.Thread):
    """Reads a stream until it ends."""

    def __init__(self, url: str, **headers: str) -> None:
        super().__init__(daemon=True)
        self.url, self.headers = url, headers
        self.events: list[tuple[str, str | None, dict[str, Any]]] = []
        self.open = threading.Event()
        self.start()
        assert self.open.wait(10)

    def run(self) -> None:
        with httpx.stream("GET", self.url, headers=self.headers, timeout=30) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            kind, number = "", None
            for line in answer.iter_lines():
                self.open.set()
                field, _, value = line.partition(": ")
                if field == "event":
                    kind = value
                elif field == "id":
                    number = value
                elif field == "data":
                    self.events.append((kind, number, json.loads(value)))
                elif not line:
                    kind, number = "", None

    def wait_for(self, number: int, seconds: float = 5) -> list[tuple[str, str | None, dict[str, Any]]]:
        deadline = time.monotonic() + seconds
        while len(self.events) < number and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(self.events) >= number, self.events
        return self.events


def test_what_happens_is_told_within_a_second_and_resumed_after_a_break(tmp_path: Path) -> None:
    with served(tmp_path) as (_, url), httpx.Client(base_url=url) as client:
        run = client.post("/v1/runs", json={"preset": "digits-mlp"}).json()["id"]
        listener = Listener(f"{url}/v1/runs/{run}/events")
        time.sleep(0.4)
        began = time.monotonic()
        client.post(f"/v1/runs/{run}:pause")
        kind, number, data = next(event for event in listener.wait_for(1) if event[0] == "state")
        assert time.monotonic() - began < 1
        assert (kind, data["old"], data["new"], data["run"]) == ("state", "queued", "paused", run)
        client.post(f"/v1/runs/{run}:resume")
        resumed = Listener(f"{url}/v1/runs/{run}/events", **{"Last-Event-ID": str(number)})
        states = [data["new"] for kind, _, data in resumed.wait_for(1) if kind == "state"]
        assert states == ["queued"]
        everything = Listener(f"{url}/v1/events", **{"Last-Event-ID": "0"})
        assert [data["new"] for kind, _, data in everything.wait_for(3) if kind == "state"][:3] == [
            "queued", "paused", "queued",
        ]  # fmt: skip
        assert "gyrostat_event_streams 3.0" in client.get("/metrics").text


def test_open_streams_and_waiting_claims_end_with_the_server(tmp_path: Path) -> None:
    with (
        served(tmp_path) as (server, url),
        httpx.Client(base_url=url) as client,
        httpx.Client(base_url=url, timeout=30) as claiming,
    ):
        claiming.get("/healthz")  # so that the claim finds its connection open, and is there before the server ends
        listeners = [Listener(f"{url}/v1/events") for _ in range(20)]
        worker = client.post(
            "/v1/workers",
            json={"name": "d", "host": "h", "pid": 1, "device": "cpu", "datasets": ["digits"], "version": "1"},
        ).json()["id"]
        answers: list[int] = []
        waiting = threading.Thread(
            target=lambda: answers.append(claiming.post(f"/v1/workers/{worker}:claim", params={"wait": 30}).status_code)
        )
        waiting.start()
        time.sleep(0.5)
        client.close()
        began = time.monotonic()
        server.should_exit = True
        for thread in (*listeners, waiting):
            thread.join(5)
            assert not thread.is_alive()
        assert time.monotonic() - began < 2
        assert answers == [204]


def test_a_run_that_is_not_there_has_no_stream(tmp_path: Path) -> None:
    with served(tmp_path) as (_, url):
        assert httpx.get(f"{url}/v1/runs/nothing/events").status_code == 404
        assert httpx.get(f"{url}/v1/events", headers={"Last-Event-ID": "x"}).status_code == 422
