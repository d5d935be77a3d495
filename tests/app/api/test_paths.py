"""Requests reach the files that are meant to be served, and no others."""

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from app.dashboard.rendering import STATIC
from tests.app.control import served

UP = ("..", "%2e%2e", "%2E%2e", ".%2e", "..%2f", "..%5c", "%252e%252e", "....//", "..;", "%c0%ae%c0%ae", "..\\")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("data")) as (_, url):
        yield url


def asked(url: str, path: str) -> tuple[int, bytes]:
    """Status and body of exactly this path: clients and browsers would tidy it up."""
    where = urlsplit(url)
    assert where.hostname is not None
    with socket.create_connection((where.hostname, where.port), timeout=20) as connection:
        request = f"GET {path} HTTP/1.1\r\nHost: {where.netloc}\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode("latin-1"))
        answer = b""
        while part := connection.recv(65536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def test_what_is_meant_to_be_served_is(url: str) -> None:
    assert asked(url, "/static/style.css") == (200, (STATIC / "style.css").read_bytes())


@pytest.mark.parametrize("base", ["/static", "/docs", "/v1/runs/x/samples", "/runs"])
def test_no_path_leads_to_another_file(url: str, base: str) -> None:
    targets = ["app/main.py", "main.py", "templates/base.html", "rendering.py", "etc/passwd", "gyrostat.sqlite"]
    for up in UP:
        for depth in (1, 2, 3, 8):
            for target in targets:
                status, body = asked(url, f"{base}/{'/'.join([up] * depth)}/{target}")
                assert status in (400, 404, 405, 422), (up, depth, target)
                assert b"import " not in body
                assert b"root:" not in body
                assert b"SQLite format" not in body


@pytest.mark.parametrize("path", ["/static//etc/passwd", "/static/%00", "/static/style.css%00.js", "/docs//etc/passwd"])
def test_absolute_names_and_zeros_lead_nowhere(url: str, path: str) -> None:
    assert asked(url, path)[0] in (400, 404, 422)
