"""The process: how it starts, refuses to start, and ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.service import eventually, free_port


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "told"),
    [
        (["serve", "--host", "0.0.0.0"], {}, "GYROSTAT_TOKEN"),
        (["serve"], {"GYROSTAT_TOKEN": "short"}, "shorter than 16"),
        (["serve"], {"GYROSTAT_PORT": "many"}, "GYROSTAT_PORT"),
        (["serve"], {"GYROSTAT_DATABASE_URL": "mysql://x/y"}, "only sqlite and postgresql"),
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


def test_migrating_says_what_it_did_and_may_be_repeated(tmp_path: Path) -> None:
    first, again = (run("migrate", "--data", str(tmp_path / "new")) for _ in range(2))
    assert (first.returncode, again.returncode) == (0, 0)
    assert "it was at none" in first.stdout
    assert "it was at none" not in again.stdout


def test_a_server_with_open_streams_ends_promptly_when_told_to(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "app", "serve", "--port", str(port), "--data", str(tmp_path)]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stderr=log) as server:

        def is_ready() -> bool:
            try:
                return httpx.get(f"{url}/readyz").status_code == 200
            except httpx.TransportError:
                return False

        eventually(is_ready, within=30)
        refused = run("serve", "--port", str(free_port()), "--data", str(tmp_path))
        assert refused.returncode == 2, "one process serves an SQLite file"
        with (
            httpx.stream("GET", f"{url}/v1/events", timeout=10) as stream,
            socket.create_connection(("127.0.0.1", port)) as idle,
        ):
            next(stream.iter_lines())
            idle.sendall(b"GET /healthz HTTP/1.1\r\n")  # and never more
            began = time.monotonic()
            server.send_signal(signal.SIGTERM)
            server.wait(10)
        assert time.monotonic() - began < 3
        assert server.returncode in (0, -signal.SIGTERM)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert all({"event", "level", "timestamp", "logger"} <= set(line) for line in lines)
    assert not [line for line in lines if line["level"] in ("error", "critical")]
