"""`make run` as a user has it: one command up, Ctrl-C down, and a training that survives both."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.end_to_end.service import eventually, free_port
from tests.end_to_end.test_training import long


class Started:
    def __init__(self, port: int, data: Path, **environment: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.began = time.monotonic()
        self.output = data.parent / f"supervisor-{time.monotonic_ns()}.out"
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app.supervisor", "--port", str(port), "--data", str(data)],
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True, env={**os.environ, **environment},
            )  # fmt: skip

    def ready(self) -> None:
        eventually(lambda: "dashboard" in self.output.read_text() or self.process.poll() is not None, within=60)
        assert self.process.poll() is None, self.output.read_text()

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(45)

    def run(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{self.url}/v1/runs/{run}", timeout=20).json()
        return found


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    started: list[Started] = []
    yield tmp_path, started
    for one in started:
        if one.process.poll() is None:
            one.interrupt()


def test_ctrl_c_stops_everything_and_a_running_training_resumes_at_the_next_start(folder: Any) -> None:
    path, all_started = folder
    port = free_port()
    first = Started(port, path / "data")
    all_started.append(first)
    first.ready()
    assert re.search(rf"curl -s {first.url}/v1/runs .*digits-resnet", first.output.read_text())
    answer = httpx.post(f"{first.url}/v1/runs", json={"spec": long(600)}, timeout=20)
    run = answer.json()["id"]
    eventually(lambda: first.run(run)["step"] >= 60, within=60)
    assert first.interrupt() == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{first.url}/healthz", timeout=2)

    second = Started(port, path / "data")
    all_started.append(second)
    second.ready()
    ended = eventually(lambda: (r := second.run(run))["state"] in ("finished", "failed", "lost") and r, within=120)
    assert ended["state"] == "finished"
    assert ended["attempt"] == 2
    losses = httpx.get(f"{second.url}/v1/runs/{run}/metrics/loss.train", timeout=20).json()
    assert losses["steps"] == list(range(1, 601))
    assert second.interrupt() == 0


def test_a_token_is_asked_of_everybody_but_keeps_nobody_from_starting(folder: Any) -> None:
    path, all_started = folder
    token = "a-token-of-more-than-sixteen-characters"
    started = Started(free_port(), path / "data", GYROSTAT_TOKEN=token)
    all_started.append(started)
    started.ready()
    assert "-H 'Authorization: Bearer '\"$GYROSTAT_TOKEN\"" in started.output.read_text()
    assert httpx.get(f"{started.url}/v1/runs", timeout=20).status_code == 401
    headers = {"Authorization": f"Bearer {token}"}
    workers = f"{started.url}/v1/workers"
    eventually(lambda: httpx.get(workers, headers=headers, timeout=20).json()["items"], within=30)
    assert started.interrupt() == 0


def test_a_port_in_use_is_said_with_the_mend(folder: Any) -> None:
    import socket

    path, _ = folder
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = subprocess.run(
            [sys.executable, "-m", "app.supervisor", "--port", str(port), "--data", str(path)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert ended.returncode == 1
    assert f"Port {port} is in use" in ended.stderr
    assert f"make run PORT={port + 1}" in ended.stderr
