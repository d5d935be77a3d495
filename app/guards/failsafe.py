"""The last resort: what nobody foresaw becomes a 500 with a number, and the stack stays in the log under it."""

import logging
import secrets

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import problems
from app.errors import AppError

_log = logging.getLogger(__name__)


class Failsafe:
    """Answers for handlers that failed; a failure after the answer began ends the connection."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        began = False

        async def noted(message: Message) -> None:
            nonlocal began
            began = began or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as error:
            if scope["type"] != "http" or began:
                raise
            incident = secrets.token_hex(6)
            told = {"incident": incident, "method": scope["method"], "path": scope["path"]}
            _log.error("unexpected failure", extra=told, exc_info=error)
            answer = AppError(
                f"something unexpected went wrong; the backend's log has it under {incident}", incident=incident
            )
            await problems.response(answer)(scope, receive, send)
