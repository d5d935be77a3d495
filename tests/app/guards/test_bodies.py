"""Bodies that are too large, too slow, of the wrong type, or hold what cannot be stored."""

import asyncio
import json
from typing import Any

import pytest
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from app.errors import BadRequest
from app.guards.bodies import BodyGuard, check_type
from gyrostat.wire.codec import MSGPACK

LIMIT = 1000


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    await PlainTextResponse(f"{len(body)} bytes")(scope, receive, send)


def answered(
    *chunks: bytes, path: str = "/v1/runs", method: str = "POST", seconds: float = 5, **headers: str
) -> tuple[int, Any]:
    """Status and document (or text) of a request whose body comes in these chunks; b"..." of None stalls."""
    sent: list[Message] = []
    waiting = list(chunks)
    named = {"content_type": "application/json", **headers}
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in named.items()]
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": raw}

    async def receive() -> Message:
        if not waiting:
            await asyncio.sleep(60)
        chunk = waiting.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(waiting) or seconds < 1}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(BodyGuard(_echo, max_bytes=LIMIT, read_seconds=seconds)(scope, receive, send))
    body = b"".join(message.get("body", b"") for message in sent).decode()
    return sent[0]["status"], json.loads(body) if sent[0]["status"] >= 400 else body


def test_a_body_within_the_limit_arrives_whole() -> None:
    assert answered(b"[" + b" " * 500, b" " * 498 + b"]") == (200, "1000 bytes")


def test_a_declared_length_over_the_limit_is_refused_unread() -> None:
    status, problem = answered(content_length="1001")
    assert (status, problem["type"]) == (413, "urn:gyrostat:problem:too-large")
    assert "GYROSTAT_MAX_BODY_BYTES" in problem["detail"]


def test_an_undeclared_length_is_counted_as_it_comes() -> None:
    assert answered(b"x" * 600, b"x" * 600, b"x" * 600)[0] == 413


def test_a_body_that_does_not_arrive_is_not_waited_for() -> None:
    status, problem = answered(b"[", seconds=0.05)
    assert (status, problem["title"]) == (408, "Request timeout")


@pytest.mark.parametrize(
    "kind", ["text/plain", "", "application/x-www-form-urlencoded", "multipart/form-data", MSGPACK]
)
def test_types_that_are_not_read_are_refused(kind: str) -> None:
    status, problem = answered(b"{}", content_type=kind)
    assert status == 415
    assert "application/json" in problem["detail"]


def test_frames_may_be_packed_and_a_login_is_a_form() -> None:
    assert answered(b"x", path="/v1/runs/r/frames", content_type=MSGPACK)[0] == 200
    assert answered(b"a=b", path="/login", content_type="application/x-www-form-urlencoded")[0] == 200
    assert answered(b"{}", path="/login")[0] == 415


def test_a_compressed_body_is_refused() -> None:
    assert answered(b"\x1f\x8b", content_encoding="gzip")[0] == 415


def test_no_body_needs_no_type() -> None:
    assert answered(b"", content_type="")[0] == 200


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a":-Infinity}', "[1,\n NaN]", "Infinity"])
def test_numbers_that_json_does_not_know_are_refused(text: str) -> None:
    status, problem = answered(text.encode())
    assert status == 400
    assert "is not JSON" in problem["detail"]


def test_the_words_in_strings_are_welcome() -> None:
    assert answered(b'{"a": "NaN", "b": ["Infinity", "x: NaN"], "Infinity": 1}')[0] == 200


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (r'{"a": {"b": "x\u0000"}}', "a.b"),
        (r'{"a": ["", "\ud800"]}', "a.1"),
        (r'{"\udfff": 1}', "(whole document)"),
        (r'"\uD83D"', "(whole document)"),
    ],
)
def test_text_that_no_database_stores_is_refused_with_its_path(text: str, path: str) -> None:
    status, problem = answered(text.encode())
    assert (status, problem["problems"][0]["path"]) == (422, path)


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert answered(rb'{"a": "\ud83d\ude00"}')[0] == 200


def test_suspect_garbage_is_refused() -> None:
    assert answered(b"[" * 900 + b"NaN")[0] == 400
    assert answered(b"\xff\xfe: NaN")[0] == 400


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"[" * 64 + b"]" * 64, 200),
        (b"[" * 65 + b"]" * 65, 400),
        (b'{"a":' * 65 + b"1" + b"}" * 65, 400),
        (b"[" + b"[]," * 200 + b"1]", 200),
        (b'["' + b"[" * 200 + b'"]', 200),
        (b'["\\"' + b"[" * 200 + b'"]', 200),
        (b'["\\\\"' + b"[" * 200 + b"]" * 200 + b"]", 400),
        (b'["' + b'\\"' * 300, 200),
        (b"[" * 70 + b'"open \\', 400),
    ],
)
def test_how_deep_a_body_nests_is_bounded(text: bytes, status: int) -> None:
    assert answered(text)[0] == status


def test_looking_for_depth_takes_time_in_proportion() -> None:
    for piece in (b'"', b'\\"', b"\\", b'["', b'"\\'):
        body = b"[" * 65 + piece * (1 << 20)
        with pytest.raises(BadRequest, match="deep"):
            check_type("/v1/runs", Headers({"content-type": "application/json"}), body)
