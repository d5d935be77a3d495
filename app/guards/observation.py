"""Counts every answer, names every request for the log, and tells the hub that something may have been written."""

import logging
import re
import secrets
import time
from collections.abc import Callable

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.guards.hosts import SAFE_METHODS
from app.services.telemetry import Telemetry

UNROUTED = "(none)"
REQUEST_ID = "x-request-id"

_GIVEN_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_RUN = re.compile(r"/(?:v1/)?runs/([0-9a-f]{16})\b")

_log = logging.getLogger(__name__)


class Observation:
    """Outermost: sees what the other guards refuse, too."""

    def __init__(self, app: ASGIApp, *, telemetry: Telemetry, wake: Callable[[], None]) -> None:
        self._app = app
        self._telemetry = telemetry
        self._wake = wake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on and notes how it was answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, size = time.perf_counter(), 0
        told = told_of(scope)

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            return message

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID] = told["request_id"]
                self._note(scope, message["status"], time.perf_counter() - began, size)
            await send(message)

        with structlog.contextvars.bound_contextvars(**told):
            await self._app(scope, counted, noted)

    def _note(self, scope: Scope, status: int, seconds: float, size: int) -> None:
        # the template, not the path: what a caller makes up must not become a label
        route = getattr(scope.get("route"), "path", UNROUTED)
        method = scope["method"] if route != UNROUTED else UNROUTED
        self._telemetry.requests.labels(method, route, str(status)).inc()
        self._telemetry.request_seconds.labels(method, route).observe(seconds)
        if size:
            self._telemetry.request_bytes.labels(route).inc(size)
        if status < 400 and scope["method"] not in SAFE_METHODS:
            self._wake()
        level = logging.WARNING if status >= 500 else logging.DEBUG
        _log.log(
            level, "answered", extra={"method": method, "route": route, "status": status, "seconds": round(seconds, 4)}
        )


def told_of(scope: Scope) -> dict[str, str]:
    """What every line that the log gets of a request says: its id, the caller's own where it has one, and its run."""
    given = Headers(scope=scope).get(REQUEST_ID, "")
    told = {"request_id": given if _GIVEN_ID.fullmatch(given) else secrets.token_hex(8)}
    if (run := _RUN.match(scope["path"])) is not None:
        told["run"] = run[1]
    return told
