"""Foreign names and foreign pages."""

import asyncio
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message

from app.guards.hosts import HostGuard
from app.settings import AppSettings

SETTINGS = AppSettings(hosts=["gyro.example"], host="192.0.2.7", token="0123456789abcdef0123")


def answered(method: str = "GET", *headers: tuple[str, str]) -> tuple[int, str]:
    """Status and body of a request with these headers."""
    sent: list[Message] = []
    scope = {
        "type": "http", "method": method, "path": "/", "query_string": b"",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
    }  # fmt: skip

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(HostGuard(PlainTextResponse("in"), SETTINGS)(scope, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent).decode()


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:8000", "localhost:1", "[::1]:8000", "[::1]", "LOCALHOST", "192.0.2.7:80", "gyro.example"],
)
def test_own_names_pass(host: str) -> None:
    assert answered("GET", ("host", host)) == (200, "in")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "evil.example:8000", "", "127.0.0.1:x",
        "127.0.0.1/..", "[::1", "0.0.0.0:8000", "localhost,evil.example", "xn--lcalhost-e1a",
    ],
)  # fmt: skip
def test_foreign_names_are_refused_with_the_setting_to_change(host: str) -> None:
    status, body = answered("GET", ("host", host))
    assert status == 421
    assert "urn:gyrostat:problem:host-not-allowed" in body
    assert "GYROSTAT_HOSTS" in body


def test_no_name_and_two_names_are_refused() -> None:
    assert answered("GET")[0] == 421
    assert answered("GET", ("host", "localhost"), ("host", "evil.example"))[0] == 421


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "QUERY", "post"])
@pytest.mark.parametrize(
    "headers",
    [
        [("origin", "https://evil.example")],
        [("origin", "null")],
        [("origin", "http://localhost:9999")],
        [("origin", "http://localhost:8000.evil.example")],
        [("origin", "file://localhost:8000")],
        [("origin", "http://[")],
        [("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-site")],
        [("sec-fetch-site", "cross-site"), ("origin", "http://localhost:8000")],
    ],
)
def test_foreign_pages_can_change_nothing(method: str, headers: list[Any]) -> None:
    status, body = answered(method, ("host", "localhost:8000"), *headers)
    assert status == 403
    assert "may change nothing" in body


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("origin", "http://localhost:8000")],
        [("origin", "http://localhost:8000"), ("sec-fetch-site", "same-origin")],
        [("sec-fetch-site", "none")],
    ],
)
def test_programs_and_own_pages_may(headers: list[Any]) -> None:
    assert answered("DELETE", ("host", "localhost:8000"), *headers)[0] == 200


def test_default_ports_may_be_left_out() -> None:
    assert answered("POST", ("host", "gyro.example"), ("origin", "https://gyro.example"))[0] == 200
    assert answered("POST", ("host", "gyro.example"), ("origin", "https://gyro.example:443"))[0] == 200


def test_foreign_pages_may_look() -> None:
    # what they see they cannot read: no CORS header is ever sent
    assert answered("GET", ("host", "localhost"), ("origin", "https://evil.example"))[0] == 200
