"""Reads each request's body once: bounded in size and time, of a type that is read here, and storable text.

Handlers get a body that is all there. JSON bodies hold no NaN or Infinity (which JSON does not know), no NUL and no
lone surrogate (which databases do not store), and nest no deeper than whoever walks through them has stack for.
"""

import asyncio
import json
import re
from typing import Any, NoReturn

import numpy as np
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import problems
from app.errors import AppError, BadRequest, Invalid, TooLarge, UnsupportedMedia
from gyrostat.spec.checks import Problem
from gyrostat.wire.codec import MSGPACK

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
READ_SECONDS = 30.0
MAX_DEPTH = 64
# cheap to search for; only what matches is parsed here. A quote before NaN makes it a string, which is welcome.
SUSPECT = re.compile(rb"(?:[\[:,]|\A)\s*-?(?:NaN|Infinity)|\\u(?:0000|[dD][89a-fA-F])")
# never fails and never looks twice, whatever is quoted, escaped or left open
STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)


class RequestTimeout(AppError):
    """The body did not arrive in time."""

    status, kind, title = 408, "request-timeout", "Request timeout"


class BodyGuard:
    """Hands on requests whose body fits; answers 400, 408, 413, 415 or 422 to the others."""

    def __init__(self, app: ASGIApp, *, max_bytes: int, read_seconds: float = READ_SECONDS) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._read_seconds = read_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on with its whole body, or refuses it."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read(scope, receive)
            check_type(scope["path"], Headers(scope=scope), body)
        except AppError as refusal:
            await problems.response(refusal)(scope, receive, send)
            return
        if body is not None:
            await self._app(scope, _replay(body, receive), send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """The body; None where the client went away."""
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > self._max_bytes:
            raise self._too_large(f"{declared} bytes")
        body = bytearray()
        try:
            async with asyncio.timeout(self._read_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    body += message.get("body", b"")
                    if len(body) > self._max_bytes:
                        raise self._too_large(f"more than {self._max_bytes} bytes")
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            raise RequestTimeout(f"the body did not arrive within {self._read_seconds:g} s; send it again") from None

    def _too_large(self, got: str) -> TooLarge:
        return TooLarge(
            f"the body has {got}, the limit is {self._max_bytes}; "
            "send smaller batches, or raise GYROSTAT_MAX_BODY_BYTES"
        )


def check_type(path: str, headers: Headers, body: bytes | None) -> None:
    """Refuses a body of a type that is not read at `path`, and JSON that cannot be stored.

    Raises:
        UnsupportedMedia: of the type or the encoding.
        BadRequest, Invalid: of the JSON text.
    """
    if not body:
        return
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMedia(
            f"Content-Encoding {headers['content-encoding']!r} is not read here; send the body plain"
        )
    declared = headers.get("content-type", "").partition(";")[0].strip().lower()
    allowed = (FORM,) if path == "/login" else (JSON, MSGPACK) if path.endswith("/frames") else (JSON,)
    if declared not in allowed:
        raise UnsupportedMedia(
            f"Content-Type is {declared[:100] or 'missing'!r}; {path[:100]} reads {' or '.join(allowed)}"
        )
    if declared == JSON and not path.endswith("/frames"):  # those are read by their type, which does not nest
        _check_depth(body)
    if declared == JSON and SUSPECT.search(body):
        _check_json(body)


def _check_depth(body: bytes) -> None:
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    marks = np.frombuffer(STRINGS.sub(b"", body), np.uint8)
    steps = np.isin(marks, (ord("["), ord("{"))).astype(np.int32) - np.isin(marks, (ord("]"), ord("}")))
    depth = int(np.cumsum(steps).max(initial=0))
    if depth > MAX_DEPTH:
        raise BadRequest(f"the body nests {depth} deep, the limit is {MAX_DEPTH}; send what is meant, it needs fewer")


def _check_json(body: bytes) -> None:
    def refuse(token: str) -> NoReturn:
        raise BadRequest(
            f"the body holds {token}, which is not JSON; write non-finite measurements as the strings "
            '"NaN", "Infinity" and "-Infinity", and leave such settings out'
        )

    try:
        _check_text(json.loads(body, parse_constant=refuse), "")
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {error}; send one JSON document") from error


def _check_text(value: Any, path: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _check_text(key, path)
            _check_text(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_text(item, f"{path}.{index}")
    elif isinstance(value, str) and ("\0" in value or any("\ud800" <= c <= "\udfff" for c in value)):
        where = path.encode("utf-8", "backslashreplace").decode()[:200] or "(whole document)"
        problem = Problem(
            path=where,
            value=value[:100].encode("utf-8", "backslashreplace").decode(),
            message="the text holds a NUL or half of a surrogate pair, which databases do not store",
            mend="replace such characters, for instance by U+FFFD",
        )
        raise Invalid(f"{where} holds text that cannot be stored", problems=[problem])


def _replay(body: bytes, receive: Receive) -> Receive:
    told = False

    async def replayed() -> Message:
        nonlocal told
        if not told:
            told = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replayed
