"""Who may speak to the service where a token is set: programs by `Authorization: Bearer`, browsers by a signed cookie.

Only the token's SHA-256 is kept, and compared in constant time. The cookie holds when it was given and an HMAC over
that, keyed by the token: no state, and changing the token ends every session.
"""

import hashlib
import hmac
import time
from collections.abc import Callable
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app import problems
from app.errors import Unauthorized
from app.settings import AppSettings

COOKIE = "gyrostat_session"
SESSION_SECONDS = 14 * 24 * 3600
OPEN_PATHS = ("/healthz", "/login", "/static/")


class Tokens:
    """Tells whether a request carries the token, or a session that was opened with it."""

    def __init__(self, settings: AppSettings, clock: Callable[[], float] = time.time) -> None:
        token = settings.token.get_secret_value().encode() if settings.token is not None else None
        self._digest = None if token is None else hashlib.sha256(token).digest()
        self._key = hashlib.sha256(b"gyrostat session\0" + (token or b"")).digest()
        self._clock = clock

    @property
    def needed(self) -> bool:
        """Whether a token is set at all."""
        return self._digest is not None

    def is_token(self, given: str) -> bool:
        """Whether `given` is the token."""
        digest = hashlib.sha256(given.encode("utf-8", "surrogateescape")).digest()
        return self._digest is not None and hmac.compare_digest(digest, self._digest)

    def open_session(self) -> str:
        """The value of a new session's cookie."""
        given_at = str(int(self._clock()))
        return f"{given_at}.{self._signature(given_at)}"

    def is_session(self, cookie: str) -> bool:
        """Whether the cookie was given by this service, with this token, and not too long ago."""
        given_at, _, signature = cookie.partition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(given_at).encode()):
            return False
        return 0 <= self._clock() - int(given_at) < SESSION_SECONDS

    def admits(self, request: Request) -> bool:
        """Whether the request may go on."""
        if not self.needed:
            return True
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.is_token(given.strip()):
            return True
        return self.is_session(request.cookies.get(COOKIE, ""))

    def _signature(self, text: str) -> str:
        return hmac.new(self._key, text.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()


class TokenGuard:
    """Answers 401 (a browser is sent to the login page) unless the request may go on."""

    def __init__(self, app: ASGIApp, tokens: Tokens) -> None:
        self._app = app
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or refuses it."""
        if scope["type"] != "http" or _is_open(scope["path"]) or self._tokens.admits(request := Request(scope)):
            await self._app(scope, receive, send)
            return
        await _refusal(request)(scope, receive, send)


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or (path.startswith("/static/") and ".." not in path)


def _refusal(request: Request) -> Response:
    wants_page = request.method == "GET" and "text/html" in request.headers.get("accept", "")
    if wants_page and not request.url.path.startswith("/v1/"):
        return RedirectResponse(f"/login?next={quote(request.url.path, safe='/')}", status_code=303)
    return problems.response(
        Unauthorized("this service needs its token; send `Authorization: Bearer TOKEN`, or open /login in a browser")
    )
