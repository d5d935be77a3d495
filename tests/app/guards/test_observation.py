"""Requests have an id, and every line of the log that they cause has it."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import httpx

from app import logs
from tests.app.control import served


def test_a_request_has_the_id_that_it_came_with_or_one_of_its_own(tmp_path: Path) -> None:
    with served(tmp_path) as (_, url), httpx.Client(base_url=url) as client:
        given = client.get("/healthz", headers={"X-Request-Id": "abc-1.2:3_4"})
        assert given.headers["x-request-id"] == "abc-1.2:3_4"
        own = {client.get("/healthz").headers["x-request-id"] for _ in range(3)}
        assert len(own) == 3
        for hostile in ("a b", "x" * 65, "<script>", '"', ""):
            answer = client.get("/v1/runs/none", headers={"X-Request-Id": hostile})
            assert answer.headers["x-request-id"] not in (hostile, *own)


PROGRAM = """
import sys, threading
import httpx
from pathlib import Path
from app import logs
from tests.app.control import served
logs.configure(sys.argv[2], sys.argv[3])
with served(Path(sys.argv[1])) as (server, url), httpx.Client(base_url=url, timeout=60) as client:
    @server.app.get("/runs/{run}/break")
    def break_down(run: str) -> None:
        raise RuntimeError("broken")
    client.get("/healthz", headers={"X-Request-Id": "fine"})
    client.get("/runs/0123456789abcdef/break", headers={"X-Request-Id": "mine"})
"""


def logged(tmp_path: Path, form: str, level: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), form, level],
        capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_lines_are_documents_that_name_request_and_run(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in logged(tmp_path, "json", "info").splitlines()]
    failed = [line for line in lines if line.get("request_id") == "mine"]
    assert [line["event"] for line in failed] == ["unexpected failure", "answered"]
    assert {line["run"] for line in failed} == {"0123456789abcdef"}
    assert "RuntimeError: broken" in failed[0]["exception"]
    assert failed[1]["status"] == 500
    assert not [line for line in lines if line.get("request_id") == "fine"], "requests that go well are no news"
    assert all({"event", "level", "timestamp", "logger"} <= set(line) for line in lines)


def test_the_level_decides_how_much_is_told(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in logged(tmp_path / "debug", "json", "debug").splitlines()]
    assert [line["event"] for line in lines if line.get("request_id") == "fine"] == ["answered"]
    levels = {json.loads(line)["level"] for line in logged(tmp_path / "error", "json", "error").splitlines()}
    assert levels == {"error"}


def test_text_is_for_people(tmp_path: Path) -> None:
    text = logged(tmp_path, "text", "info")
    assert "request_id=mine" in text
    assert "RuntimeError" in text
    assert "\x1b" not in text, "no colours where nobody looks"


def test_the_log_of_a_library_is_heard_only_where_something_is_wrong() -> None:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        logs.configure("json", "debug")
        assert logging.getLogger("httpx").level == logging.WARNING
        logs.configure("json", "error")
        assert logging.getLogger("httpx").level == logging.ERROR
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
