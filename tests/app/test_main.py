"""The process: how it starts, refuses to start, and ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from app.__main__ import SHUTDOWN_SECONDS
from tests.end_to_end.service import eventually, free_port


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "told"),
    [
        (["serve", "--host", "0.0.0.0"], {}, "GYROSTAT_TOKEN"),
        (["serve"], {"GYROSTAT_TOKEN": "short"}, "shorter than 16"),
        (["serve"], {"GYROSTAT_PORT": "many"}, "GYROSTAT_PORT"),
        (["serve"], {"GYROSTAT_DATABASE_URL": "mysql://x/y"}, "only sqlite and postgresql"),
        (["serve"], {"GYROSTAT_LOG_LEVEL": "loud"}, "GYROSTAT_LOG_LEVEL"),
        (["migrate"], {"GYROSTAT_DATABASE_URL": "sqlite://"}, "must be a file"),
    ],
)
def test_settings_that_cannot_be_served_are_one_line_and_status_2(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], told: str
) -> None:
    ended = run(*arguments, "--data", str(tmp_path), **environment)
    assert ended.returncode == 2
    assert told in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert "short" not in ended.stderr.replace("shorter", ""), "a secret is never printed"


def test_a_port_that_is_taken_is_one_line_and_nothing_is_made(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = run("serve", "--port", str(port), "--data", str(tmp_path / "new"))
    assert ended.returncode == 2
    assert ended.stderr == f"gyrostat: port {port} of 127.0.0.1 cannot be listened on: address already in use\n"
    assert not (tmp_path / "new").exists()


def test_migrating_says_what_it_did_and_may_be_repeated(tmp_path: Path) -> None:
    first, again = (run("migrate", "--data", str(tmp_path / "new")) for _ in range(2))
    assert (first.returncode, again.returncode) == (0, 0)
    assert "it was at none" in first.stdout
    assert "it was at none" not in again.stdout


VIEWERS = 100


@contextmanager
def serving(folder: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[bytes], str, int]]:
    """A server in a process of its own, its address and its port."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "app", "serve", "--port", str(port), "--data", str(folder)]
    env = {**os.environ, **environment}
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stderr=log, env=env) as server:

        def is_ready() -> bool:
            try:
                return httpx.get(f"{url}/readyz").status_code == 200
            except httpx.TransportError:
                return False

        try:
            eventually(is_ready, within=100)
            yield server, url, port
        finally:
            server.kill()


def test_one_file_is_served_by_one_process(tmp_path: Path) -> None:
    with serving(tmp_path):
        refused = run("serve", "--port", str(free_port()), "--data", str(tmp_path))
    assert refused.returncode == 2
    assert "already served" in refused.stderr


def test_a_server_with_a_hundred_viewers_ends_promptly_and_finishes_what_has_begun(tmp_path: Path) -> None:
    with serving(tmp_path) as (server, url, port), ExitStack() as open_connections:

        def connected(request: bytes) -> socket.socket:
            connection = open_connections.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            connection.sendall(request)
            return connection

        worker = {"name": "w", "host": "h", "pid": 1, "device": "cpu", "datasets": ["digits"], "version": "1"}
        worker_id = httpx.post(f"{url}/v1/workers", json=worker).json()["id"]
        viewers = [connected(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n") for _ in range(VIEWERS)]
        for viewer in viewers:
            assert b"200 OK" in viewer.recv(4096)
        eventually(lambda: f"gyrostat_event_streams {VIEWERS}.0" in httpx.get(f"{url}/metrics").text, within=10)
        claim = f"POST /v1/workers/{worker_id}:claim?wait=60 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
        waiting = connected(claim.encode())
        connected(b"GET /healthz HTTP/1.1\r\n")  # and never more
        create = (
            b"POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 18\r\n\r\n"
        )
        begun = connected(create + b'{"attached')
        time.sleep(0.5)

        server.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        begun.sendall(b'": true}')
        assert begun.recv(4096).startswith(b"HTTP/1.1 201"), "what has begun is finished"
        assert waiting.recv(4096).startswith(b"HTTP/1.1 204")
        server.wait(10)
        assert server.returncode in (0, -signal.SIGTERM)
        for viewer in viewers:
            while viewer.recv(4096):
                pass
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert all({"event", "level", "timestamp", "logger"} <= set(line) for line in lines)
    # uvicorn tells of an error when it has to cut off after SHUTDOWN_SECONDS what does not end by itself
    assert SHUTDOWN_SECONDS <= 5
    assert not [line for line in lines if line["level"] in ("error", "critical")]
    with serving(tmp_path) as (_, url, _):
        assert len(httpx.get(f"{url}/v1/runs").json()["items"]) == 1
