"""Counts every answer, and tells the hub that something may have been written."""

import logging
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.guards.hosts import SAFE_METHODS
from app.services.telemetry import Telemetry

UNROUTED = "(none)"

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
        began = time.perf_counter()

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._note(scope, message["status"], time.perf_counter() - began)
            await send(message)

        await self._app(scope, receive, noted)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        # the template, not the path: what a caller makes up must not become a label
        route = getattr(scope.get("route"), "path", UNROUTED)
        method = scope["method"] if route != UNROUTED else UNROUTED
        self._telemetry.requests.labels(method, route, str(status)).inc()
        self._telemetry.request_seconds.observe(seconds)
        if status < 400 and scope["method"] not in SAFE_METHODS:
            self._wake()
        level = logging.WARNING if status >= 500 else logging.DEBUG
        _log.log(
            level, "answered", extra={"method": method, "route": route, "status": status, "seconds": round(seconds, 4)}
        )
